# Everything a person or a script does with this repository. `make help` lists the targets.
SHELL   := /bin/bash
GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo 0.1.0-dev)
BIN     := bin
PAYLOAD := internal/payload/files
LDFLAGS := -s -w -X main.version=$(VERSION)
SOURCES := $(shell find api cmd images internal sdk -name '*.go' -o -name '*.sql' -o -name '*.yaml' -o -name '*.py' -o -name '*.js' 2>/dev/null) go.mod go.sum

.PHONY: help build desktop up demo test test-long e2e fuzz lint bench generate clean deps-build deps-test deps-bench
help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | sort | column -ts $$'\t'

build: deps-build $(BIN)/dugout $(BIN)/runc $(BIN)/images/.stamp ## bin/dugout and what it needs beside it

deps-build deps-test deps-bench: deps-%:
	@tools/deps.sh $*

$(PAYLOAD)/dugoutd $(PAYLOAD)/dugoutd-ts $(PAYLOAD)/dugoutd-git: $(PAYLOAD)/%: $(SOURCES)
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $@ ./cmd/$*

$(BIN)/dugout: $(PAYLOAD)/dugoutd $(PAYLOAD)/dugoutd-ts $(PAYLOAD)/dugoutd-git $(SOURCES)
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $@ ./cmd/dugout

$(BIN)/runc: tools/runc/build.sh
	tools/runc/build.sh $@ && touch $@

# The snapshots that are built from packages; once for each state of the recipes.
$(BIN)/images/.stamp: images/base.yaml images/tiny.yaml
	$(GO) run ./images/build -store $(BIN) tiny base
	@touch $@

desktop: deps-build ## the snapshot with a graphical desktop, 1.4 GB; once for each state of its recipe
	$(GO) run ./images/build -store $(BIN) desktop

up: build ## run the server on this host until Ctrl-C
	@$(BIN)/dugout up

demo: build ## the main job on real data, from create to delete
	@demo/run.sh

test: deps-test $(PAYLOAD)/dugoutd $(PAYLOAD)/dugoutd-ts $(PAYLOAD)/dugoutd-git $(BIN)/runc $(BIN)/images/.stamp ## the default tests, with the race detector
	DUGOUT_TEST_RUNC=$(CURDIR)/$(BIN)/runc $(GO) test -race -timeout 15m $$($(GO) list ./...)

test-long: deps-test $(PAYLOAD)/dugoutd $(PAYLOAD)/dugoutd-ts $(PAYLOAD)/dugoutd-git ## the tests that can do more, with all they can: more histories, full volumes
	DUGOUT_TEST_LONG=1 $(GO) test -timeout 60m ./internal/sandbox ./internal/daemon/interp ./internal/daemon/process ./internal/daemon/session

e2e: build deps-test ## official SDKs and crash tests against a real server
	test/e2e/run.sh

fuzz: ## every parser of outside bytes, 30 s each
	tools/fuzz.sh 30s ./internal/daemon/... ./internal/proxy/... ./internal/rest/...

lint: ## static checks
	tools/lint.sh

bench: build deps-bench ## measure, beside reference arms in the same run
	bench/run.sh

generate: ## what is generated and committed: queries and API descriptions
	$(GO) run ./internal/tools/specgen

clean: ## remove what was built
	rm -rf $(BIN) .cache $(PAYLOAD)/dugoutd $(PAYLOAD)/dugoutd-ts $(PAYLOAD)/dugoutd-git
