// Command dugout is the server, the runner and the command line of Dugout in one binary.
package main

import (
	"context"
	"os"

	"github.com/dugout-dev/dugout/internal/app"
	"github.com/dugout-dev/dugout/internal/cli"
	"github.com/dugout-dev/dugout/internal/config"
)

// version is set by the build.
var version = "0.0.0-dev"

func main() {
	os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr, cli.Deps{
		Version: version,
		Up: func(ctx context.Context, cfg config.Config, out cli.UpOutput) error {
			return app.Up(ctx, version, cfg, app.Output(out))
		},
		Down: func(ctx context.Context, cfg config.Config, out cli.UpOutput) (int, error) {
			return app.Down(ctx, cfg, app.Output(out))
		},
		Doctor: func(ctx context.Context, cfg config.Config) (out []cli.Finding) {
			for _, f := range app.Doctor(ctx, cfg) {
				out = append(out, cli.Finding(f))
			}
			return out
		},
	}))
}
