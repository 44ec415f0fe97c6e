// Package cli is the command line: a file for each noun. The commands of users speak only the Go SDK; those of operators
// read the configuration and hand it to what [Deps] gives them.
package cli

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dugout-dev/dugout/internal/config"
)

// Deps is what the command line is tied to. A command whose function is nil does not exist.
type Deps struct {
	Version string
	// Up runs the whole platform until ctx ends. It calls out.Ready once, when the first request can be answered.
	Up func(ctx context.Context, cfg config.Config, out UpOutput) error
	// Down stops all sandboxes of this host and takes away what they leave on it; it returns how many it stopped. It uses
	// only Log and Progress of out.
	Down func(ctx context.Context, cfg config.Config, out UpOutput) (int, error)
	// Doctor examines this host.
	Doctor func(ctx context.Context, cfg config.Config) []Finding
}

// env is what every command has: where it reads and writes, and which server it was pointed at.
type env struct {
	in       io.Reader
	out, err io.Writer
	deps     Deps
	apiURL   string
}

// Main runs the command line and returns the exit code, one of the table in exit.go or that of a remote command. args are
// without the program's name.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer, deps Deps) int {
	if deps.Version == "" {
		deps.Version = "dev"
	}
	e := &env{in: stdin, out: stdout, err: stderr, deps: deps}
	root := e.root()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(context.Background())
	return e.report(err)
}

func (e *env) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "dugout",
		Short: "Sandboxes for AI agents, on your own machines",
		Long: `Dugout runs sandboxes for AI agents on your own machines.

  dugout up                                 start the server on this host
  dugout create --name box                  make a sandbox
  dugout exec box -- python3 -c 'print(1)'  run a command in it
  dugout cp ./data box:data                 copy files to it
  dugout delete box                         remove it

DUGOUT_API_URL and DUGOUT_API_KEY say which server to talk to. Without them it is the one on this host, with the
administrator's key from its data directory.

` + exitHelp,
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       e.deps.Version,
	}
	group(root)
	root.SetVersionTemplate("dugout {{.Version}}\n")
	root.Flags().BoolP("version", "v", false, "print the version")
	root.PersistentFlags().StringVar(&e.apiURL, "api-url", "", "API to talk to, instead of $DUGOUT_API_URL")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		hint := cmd.CommandPath() + " --help"
		if cmd.Name() == "exec" {
			hint = "put -- before the command to run; see " + hint
		}
		return &usageError{msg: err.Error(), hint: hint}
	})
	root.CompletionOptions.DisableDefaultCmd = true
	root.AddCommand(e.sandboxCmd(), e.fileCmd(), e.snapshotCmd(), e.versionCmd(), e.configCmd(), e.completionCmd())
	for _, c := range e.sandboxCmds() { // all of them at the top level too
		root.AddCommand(c)
	}
	root.AddCommand(e.cpCmd())
	if e.deps.Up != nil {
		root.AddCommand(e.upCmd())
	}
	if e.deps.Down != nil {
		root.AddCommand(e.downCmd())
	}
	if e.deps.Doctor != nil {
		root.AddCommand(e.doctorCmd())
	}
	return root
}

// group makes cmd a command that only holds others: alone it shows its help, with anything else it says what it knows.
func group(cmd *cobra.Command) *cobra.Command {
	cmd.Args = cobra.ArbitraryArgs
	cmd.SuggestionsMinimumDistance = 2
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return cmd.Help()
		}
		u := &usageError{msg: fmt.Sprintf("unknown command %q for %q", args[0], cmd.CommandPath()), hint: cmd.CommandPath() + " --help"}
		if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
			u.hint = "did you mean " + strings.Join(near, " or ") + "?"
		}
		return u
	}
	return cmd
}
