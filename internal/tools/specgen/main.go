// Command specgen writes the OpenAPI documents of the project: api/openapi/api.json (control plane) and
// api/openapi/toolbox.json (toolbox API). Run it from the root of the repository after every change of a route or of a wire
// type; a test compares what is committed with what it would write.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/dugout-dev/dugout/internal/tools/specgen/spec"
)

func main() {
	for name, generate := range spec.Documents {
		b, err := generate()
		if err == nil {
			err = os.WriteFile(filepath.Join("api", "openapi", name), b, 0o644)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "specgen:", name+":", err)
			os.Exit(1)
		}
	}
}
