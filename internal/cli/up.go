package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
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
			file := filepath.Join(cfg.DataDir, config.AdminKeyFile)
			where, value := file+" (mode 0600)", `"$(cat `+legible(file)+`)"`
			if key, err := config.EnsureAdminKey(cfg); err == nil {
				where = key.Reveal() + ", kept in " + where
			}
			if cfg.Server.AdminAPIKey != "" {
				where, value = "as configured", `"$DUGOUT_ADMIN_API_KEY"`
			}
			st := e.style(e.out)
			fmt.Fprintf(e.out, banner, st.bold("Dugout "+e.deps.Version+" is up."), apiURL, where, legible(apiURL), value, legible(invoked()))
		},
	}
}

// banner ends with lines to paste into a second terminal. A key that the platform made is shown, because nobody else knows
// it; one that was configured is not. It goes to standard output only, never to the log.
const banner = `%[1]s

  API      %[2]s
  API key  %[3]s

Try it in another terminal:

  export DAYTONA_API_URL=%[4]s DAYTONA_API_KEY=%[5]s

  # shell
  %[6]s create --name box && %[6]s exec box -- uname -a && %[6]s delete box
  # Python, after: pip install daytona
  python3 -c 'from daytona import Daytona; b = Daytona().create(); print(b.process.exec("uname -a").result); b.delete()'
  # TypeScript, after: npm install @daytona/sdk
  node --input-type=module -e 'import { Daytona } from "@daytona/sdk"; const b = await new Daytona().create(); console.log((await b.process.executeCommand("uname -a")).result); await b.delete()'

Ctrl-C ends the server; sandboxes go on running. "dugout down" stops those too.
`

// invoked is the program as another shell can run it.
func invoked() string {
	if !strings.Contains(os.Args[0], "/") {
		return os.Args[0] // found in PATH
	}
	if path, err := filepath.Abs(os.Args[0]); err == nil {
		return path
	}
	return os.Args[0]
}
