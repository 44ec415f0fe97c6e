package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dugout-dev/dugout/api"
	dugout "github.com/dugout-dev/dugout/sdk/go"
)

func (e *env) sandboxCmd() *cobra.Command {
	cmd := group(&cobra.Command{Use: "sandbox", Aliases: []string{"sandboxes"}, Short: "Make, use and remove sandboxes"})
	cmd.AddCommand(e.sandboxCmds()...)
	return cmd
}

// sandboxCmds makes the commands of the noun anew: each is both a command of sandbox and one of the root.
func (e *env) sandboxCmds() []*cobra.Command {
	return []*cobra.Command{e.createCmd(), e.listCmd(), e.infoCmd(), e.startCmd(), e.stopCmd(), e.deleteCmd(), e.execCmd()}
}

func (e *env) listCmd() *cobra.Command {
	var (
		o      output
		opts   dugout.ListOptions
		labels []string
		states []string
		all    bool
	)
	cmd := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List sandboxes, latest activity first",
		Args: exactly(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if err := o.check(); err != nil {
				return err
			}
			if opts.Limit < 1 || opts.Limit > 200 {
				return usagef("--limit must be from 1 to 200, got %d", opts.Limit)
			}
			if opts.Labels, err = pairs("label", labels, nil); err != nil {
				return err
			}
			for _, s := range states {
				opts.States = append(opts.States, api.SandboxState(s))
			}
			client, err := e.client()
			if err != nil {
				return err
			}
			items, next := []api.SandboxListItem{}, ""
			for {
				page, err := client.ListPage(cmd.Context(), opts)
				if err != nil {
					return err
				}
				items, next = append(items, page.Items...), ""
				if page.NextCursor != nil {
					next = *page.NextCursor
				}
				if !all || next == "" || next == opts.Cursor {
					break
				}
				opts.Cursor = next
			}
			err = o.print(e.out, items, func() error {
				if len(items) == 0 {
					e.note("No sandboxes. Make one with: dugout create")
					return nil
				}
				st, now := e.style(e.out), time.Now()
				t := table{header: []string{"NAME", "STATE", "SNAPSHOT", "REGION", "LAST EVENT"}, paint: stateColumn(st, 1)}
				for _, s := range items {
					t.add(s.Name, string(s.State), s.Snapshot, s.Target, ago(s.LastActivityAt.Time, now))
				}
				return t.write(e.out, st)
			})
			if err == nil && next != "" && !all {
				fmt.Fprintf(e.err, "There are more: --cursor %s continues, --all shows all.\n", cleanLine(next))
			}
			return err
		},
	}
	o.flags(cmd)
	f := cmd.Flags()
	f.IntVarP(&opts.Limit, "limit", "l", 100, "sandboxes per page, 1 to 200")
	f.StringVarP(&opts.Cursor, "cursor", "c", "", "page to begin with")
	f.BoolVarP(&all, "all", "a", false, "all pages")
	f.StringVar(&opts.Name, "name", "", "only names that begin so")
	f.StringArrayVar(&labels, "label", nil, "only with this label, KEY=VALUE; repeatable")
	f.StringArrayVar(&states, "state", nil, "only in this state; repeatable")
	return cmd
}

// stateColumn colours a state by what it means for the person.
func stateColumn(st style, column int) func(int, string) func(string) string {
	return func(i int, cell string) func(string) string {
		if i != column {
			return nil
		}
		switch cell {
		case "started", "active":
			return st.green
		case "error", "build_failed":
			return st.red
		case "stopped", "archived", "inactive", "paused":
			return st.dim
		}
		return st.yellow
	}
}

func (e *env) infoCmd() *cobra.Command {
	var o output
	cmd := &cobra.Command{
		Use: "info NAME", Aliases: []string{"view", "inspect"}, Short: "Show a sandbox",
		Args: exactly(1, "the name or id of a sandbox"), ValidArgsFunction: e.completeSandboxes(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.check(); err != nil {
				return err
			}
			client, err := e.client()
			if err != nil {
				return err
			}
			s, err := client.Get(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return o.print(e.out, s.Sandbox, func() error { return e.showSandbox(s) })
		},
	}
	o.flags(cmd)
	return cmd
}

func (e *env) showSandbox(s *dugout.Sandbox) error {
	var rows [][2]string
	row := func(k, v string) {
		if v != "" {
			rows = append(rows, [2]string{k, v})
		}
	}
	row("Name", s.Name)
	row("ID", s.ID)
	row("State", string(s.State))
	row("Error", s.ErrorReason)
	if s.State != dugout.Started {
		row("Stopped because", s.StopReason)
	}
	row("Snapshot", s.Snapshot)
	row("Region", s.Target)
	row("User", s.User)
	row("Resources", resources(s.CPU, s.Memory, s.Disk))
	switch {
	case s.NetworkBlockAll:
		row("Network", "blocked")
	case s.NetworkAllowList != "":
		row("Network", "only "+s.NetworkAllowList)
	}
	row("Auto-stop", minutes(s.AutoStopInterval, s.AutoStopInterval > 0))
	row("Auto-delete", minutes(s.AutoDeleteInterval, s.AutoDeleteInterval >= 0))
	row("Created", s.CreatedAt.Local().Format(time.DateTime))
	row("Last event", ago(s.LastActivityAt.Time, time.Now()))
	for _, k := range slices.Sorted(maps.Keys(s.Labels)) {
		row("Label", k+"="+s.Labels[k])
	}
	st := e.style(e.out)
	paint := stateColumn(st, 0)
	var b strings.Builder
	for _, r := range rows {
		v := cleanLine(r[1])
		if r[0] == "State" {
			v = paint(0, v)(v)
		}
		fmt.Fprintf(&b, "%s %s\n", st.bold(fmt.Sprintf("%-16s", r[0])), v)
	}
	_, err := fmt.Fprint(e.out, b.String())
	return err
}

func minutes(n int64, on bool) string {
	switch {
	case !on:
		return "never"
	case n == 0:
		return "at once"
	}
	return (time.Duration(n) * time.Minute).String()
}

func (e *env) startCmd() *cobra.Command {
	return &cobra.Command{
		Use: "start NAME...", Short: "Start stopped sandboxes",
		Args: some("the name or id of at least one sandbox"), ValidArgsFunction: e.completeSandboxes(-1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return e.each(cmd.Context(), args, "started", (*dugout.Sandbox).Start)
		},
	}
}

func (e *env) stopCmd() *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use: "stop NAME...", Short: "Stop sandboxes; their disks stay",
		Args: some("the name or id of at least one sandbox"), ValidArgsFunction: e.completeSandboxes(-1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return e.each(cmd.Context(), args, "stopped", func(s *dugout.Sandbox, ctx context.Context) error { return s.Stop(ctx, force) })
		},
	}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "kill its processes at once")
	return cmd
}

func (e *env) deleteCmd() *cobra.Command {
	var all, yes, wait bool
	cmd := &cobra.Command{
		Use: "delete NAME...", Aliases: []string{"remove", "rm"}, Short: "Delete sandboxes and all that is in them",
		ValidArgsFunction: e.completeSandboxes(-1),
		Args: func(cmd *cobra.Command, args []string) error {
			if all && len(args) > 0 {
				return usagef("--all takes no names")
			}
			if all {
				return nil
			}
			return some("the name or id of at least one sandbox, or --all")(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if all {
				client, err := e.client()
				if err != nil {
					return err
				}
				for s, err := range client.List(cmd.Context(), dugout.ListOptions{Limit: 200}) {
					if err != nil {
						return err
					}
					args = append(args, s.ID)
				}
				if len(args) > 0 && !yes && isTerminal(e.in) && isTerminal(e.err) && !e.confirm(fmt.Sprintf("Delete %d sandboxes and all that is in them?", len(args))) {
					return &exitError{code: exitFailure, err: errors.New("nothing was deleted")}
				}
			}
			return e.each(cmd.Context(), args, "deleted", func(s *dugout.Sandbox, ctx context.Context) error {
				err := s.Delete(ctx)
				if errors.Is(err, dugout.ErrNotFound) && all {
					return nil // somebody else was faster
				}
				if err == nil && wait {
					return s.Wait(ctx, dugout.Destroyed)
				}
				return err
			})
		},
	}
	cmd.Flags().BoolVarP(&all, "all", "a", false, "all sandboxes of the organization")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	cmd.Flags().BoolVar(&wait, "wait", false, "return when they are gone")
	return cmd
}

func (e *env) confirm(question string) bool {
	fmt.Fprintf(e.err, "%s [y/N] ", question)
	line, _ := bufio.NewReader(e.in).ReadString('\n')
	line = strings.ToLower(strings.TrimSpace(line))
	return line == "y" || line == "yes"
}

// each does one thing to several sandboxes. One that fails does not keep the others from their turn; the exit code is that
// of the first failure.
func (e *env) each(ctx context.Context, names []string, done string, do func(*dugout.Sandbox, context.Context) error) error {
	client, err := e.client()
	if err != nil {
		return err
	}
	var first error
	for _, name := range names {
		s, err := client.Get(ctx, name)
		if err == nil {
			name = s.Name // delete renames what is left
			err = do(s, ctx)
		}
		switch {
		case err == nil:
			fmt.Fprintf(e.out, "%s %s\n", cleanLine(name), done)
		case first == nil:
			first = err
		default:
			e.report(err)
		}
	}
	return first
}

func some(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return exactly(1, what)(cmd, args)
		}
		return nil
	}
}
