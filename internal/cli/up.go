package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/dugout-dev/dugout/internal/config"
)

// UpOutput is how the running platform tells a person about itself.
type UpOutput struct {
	Log io.Writer // where log lines go
	// Progress says what the start is busy with, e.g. building the base snapshot; for a person, not for the log.
	Progress func(text string)
	// Ready is called once, when the API answers at apiURL.
	Ready func(apiURL string)
}

func (e *env) upCmd() *cobra.Command {
	var s settings
	cmd := &cobra.Command{
		Use: "up", Short: "Run the server on this host",
		Long: `Runs everything in one process: the API, the proxy and the runner that makes sandboxes on this host. Needs root.

Ctrl-C or SIGTERM ends the server; sandboxes go on running, and the next start finds them again.`,
		Args: exactly(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			eff, err := s.load(cmd)
			if err != nil {
				return err
			}
			for _, w := range eff.Warnings {
				e.warn("%s", w)
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			context.AfterFunc(ctx, stop) // a second signal ends the process the hard way
			err = e.deps.Up(ctx, eff.Config, e.upOutput(eff.Config))
			if errors.Is(err, context.Canceled) && ctx.Err() != nil {
				return nil
			}
			return err
		},
	}
	s.flags(cmd.Flags())
	return cmd
}

func (e *env) upOutput(cfg config.Config) UpOutput {
	return UpOutput{
		Log:      e.err,
		Progress: func(text string) { e.note("%s", text) },
		Ready: func(apiURL string) {
			if err := config.PublishURL(cfg, apiURL); err != nil {
				e.warn("%v; the command line of this host will look for the API at its usual place", err)
			}
			key := "in " + filepath.Join(cfg.DataDir, config.AdminKeyFile)
			if cfg.Server.AdminAPIKey != "" {
				key = "as configured"
			}
			st := e.style(e.out)
			fmt.Fprintf(e.out, `%s
  API      %s
  API key  %s

  dugout create --name box
  dugout exec box -- python3 -c 'print("hello")'

Ctrl-C ends the server; sandboxes go on running.
`, st.bold("Dugout "+e.deps.Version+" is up."), apiURL, key)
		},
	}
}
