module github.com/dugout-dev/dugout/test/e2e/go

go 1.26.8

require (
	github.com/daytonaio/daytona/libs/api-client-go v0.190.0
	github.com/daytonaio/daytona/libs/toolbox-api-client-go v0.190.0
)
