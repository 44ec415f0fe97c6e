// Command dugout is the server, the runner and the command line of Dugout in one binary.
package main

import (
	"os"

	"github.com/dugout-dev/dugout/internal/cli"
)

// version is set by the build.
var version = "0.0.0-dev"

func main() {
	os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr, cli.Deps{Version: version}))
}
