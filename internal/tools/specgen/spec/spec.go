// Package spec knows the project's OpenAPI documents, for the command that writes them and the test that compares them.
package spec

import (
	"github.com/dugout-dev/dugout/internal/daemon"
	"github.com/dugout-dev/dugout/internal/rest/openapi"
)

// Documents are the files below api/openapi, and how their content is made.
var Documents = map[string]func() ([]byte, error){
	"api.json":     control,
	"toolbox.json": toolbox,
}

func toolbox() ([]byte, error) {
	doc := openapi.Document{
		Title: "Dugout toolbox API", Version: "0.205", Server: "/toolbox/{sandboxId}",
		Description: "Files and processes of one sandbox: what the daemon in it answers.",
		Errors:      []int{400, 401, 403, 404, 408, 409, 413, 500, 502, 504},
	}
	return doc.Generate(daemon.Routes(nil))
}
