package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	dugout "github.com/dugout-dev/dugout/sdk/go"
)

func (e *env) createCmd() *cobra.Command {
	var (
		o                                                    output
		opts                                                 dugout.CreateOptions
		vars, labels                                         []string
		autoStop, autoArchive, autoDelete, autoPause, ttlMin int64
		ephemeral                                            bool
	)
	cmd := &cobra.Command{
		Use: "create", Aliases: []string{"add", "new"}, Short: "Make a sandbox and start it",
		Long: `Makes a sandbox, waits until it is started and prints its name.

  dugout create --name box --env TOKEN --label team=a
  box=$(dugout create --ephemeral)`,
		Args: exactly(0, "no arguments; the name goes after --name"),
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if err := o.check(); err != nil {
				return err
			}
			if opts.Env, err = pairs("env", vars, lookupEnv); err != nil {
				return err
			}
			if opts.Labels, err = pairs("label", labels, nil); err != nil {
				return err
			}
			if ephemeral {
				if cmd.Flags().Changed("auto-delete") && autoDelete != 0 {
					return usagef("--ephemeral means --auto-delete 0; give one of them")
				}
				autoDelete = 0
			}
			set := func(flag string, to **int64, v *int64) {
				if cmd.Flags().Changed(flag) {
					*to = v
				}
			}
			set("auto-stop", &opts.AutoStopInterval, &autoStop)
			set("auto-archive", &opts.AutoArchiveInterval, &autoArchive)
			set("auto-delete", &opts.AutoDeleteInterval, &autoDelete)
			set("auto-pause", &opts.AutoPauseInterval, &autoPause)
			set("ttl", &opts.TTLMinutes, &ttlMin)
			set("ephemeral", &opts.AutoDeleteInterval, &autoDelete)
			client, err := e.client()
			if err != nil {
				return err
			}
			began := time.Now()
			s, err := client.Create(cmd.Context(), opts)
			if err != nil {
				return err
			}
			return o.print(e.out, s.Sandbox, func() error {
				_, err := fmt.Fprintln(e.out, cleanLine(s.Name))
				e.note("started in %s; run something in it: dugout exec %s -- ls", time.Since(began).Round(time.Millisecond), s.Name)
				return err
			})
		},
	}
	o.flags(cmd)
	f := cmd.Flags()
	f.StringVar(&opts.Name, "name", "", "name, unique in the organization; default: its id")
	f.StringVar(&opts.Snapshot, "snapshot", "", "snapshot to make it from; default: the server's")
	f.StringVar(&opts.User, "user", "", "user its processes run as; default: the snapshot's")
	f.StringVar(&opts.Target, "target", "", "region; default: the organization's")
	f.StringArrayVarP(&vars, "env", "e", nil, "environment variable KEY=VALUE, or KEY for the value it has here; repeatable")
	f.StringArrayVarP(&labels, "label", "l", nil, "label KEY=VALUE; repeatable")
	f.BoolVar(&opts.Public, "public", false, "let anybody open its previews")
	f.BoolVar(&opts.NetworkBlockAll, "network-block-all", false, "cut it off from the network")
	f.StringVar(&opts.NetworkAllowList, "network-allow-list", "", "IPv4 networks it may reach, separated by commas, and no others")
	f.Int64Var(&opts.CPU, "cpu", 0, "cores, where the snapshot leaves the choice")
	f.Int64Var(&opts.Memory, "memory", 0, "memory in GiB, where the snapshot leaves the choice")
	f.Int64Var(&opts.Disk, "disk", 0, "disk in GiB, where the snapshot leaves the choice")
	f.Int64Var(&autoStop, "auto-stop", 15, "minutes without activity until it is stopped; 0: never")
	f.Int64Var(&autoArchive, "auto-archive", 10080, "minutes stopped until it is archived; 0: the maximum")
	f.Int64Var(&autoDelete, "auto-delete", -1, "minutes stopped until it is deleted; 0: at once; negative: never")
	f.Int64Var(&autoPause, "auto-pause", 0, "minutes without activity until it is paused; 0: never")
	f.Int64Var(&ttlMin, "ttl", 0, "minutes until it is destroyed whatever happens; 0: never")
	f.BoolVar(&ephemeral, "ephemeral", false, "delete it when it stops")
	_ = cmd.RegisterFlagCompletionFunc("snapshot", e.completeSnapshots)
	return cmd
}

// pairs reads KEY=VALUE flags. With lookup, KEY alone takes the value it finds.
func pairs(flag string, list []string, lookup func(string) (string, bool)) (map[string]string, error) {
	if len(list) == 0 {
		return nil, nil
	}
	out := make(map[string]string, len(list))
	for _, kv := range list {
		k, v, ok := strings.Cut(kv, "=")
		if !ok && lookup != nil && k != "" {
			if v, ok = lookup(k); !ok {
				return nil, usagef("--%s %s: the variable is not set here; give it as %s=VALUE", flag, kv, k)
			}
		}
		if !ok || k == "" {
			return nil, usagef("--%s must be KEY=VALUE, got %q", flag, kv)
		}
		out[k] = v
	}
	return out, nil
}
