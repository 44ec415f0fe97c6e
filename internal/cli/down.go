package cli

import (
	"context"
	"fmt"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func (e *env) downCmd() *cobra.Command {
	var s settings
	cmd := &cobra.Command{
		Use: "down", Short: "Stop all sandboxes and take their network and mounts off this host",
		Long: `Leaves this host as a reboot would: every sandbox of the installation is stopped, and its network, mounts and cgroups are gone.
Disks and the database stay; the next "dugout up" finds every sandbox, stopped. The server must have ended. Needs root, and
the same --data and --run-dir as "dugout up".`,
		Args: exactly(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			eff, err := s.load(cmd)
			if err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			context.AfterFunc(ctx, stop) // a second signal ends the process the hard way
			n, err := e.deps.Down(ctx, eff.Config, UpOutput{Log: e.err, Progress: func(text string) { e.note("%s", text) }})
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(e.out, "Dugout is down; sandboxes stopped: %d\n", n)
			return err
		},
	}
	s.flags(cmd.Flags())
	return cmd
}
