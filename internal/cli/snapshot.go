package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dugout-dev/dugout/api"
	dugout "github.com/dugout-dev/dugout/sdk/go"
)

func (e *env) snapshotCmd() *cobra.Command {
	cmd := group(&cobra.Command{Use: "snapshot", Aliases: []string{"snapshots"}, Short: "Look at the snapshots that sandboxes are made from"})
	cmd.AddCommand(e.snapshotListCmd(), e.snapshotInfoCmd())
	return cmd
}

func (e *env) snapshotListCmd() *cobra.Command {
	var o output
	var opts dugout.SnapshotListOptions
	cmd := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List snapshots",
		Args: exactly(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(); err != nil {
				return err
			}
			if opts.Limit < 1 || opts.Limit > 200 || opts.Page < 1 {
				return usagef("--limit must be from 1 to 200 and --page at least 1, got %d and %d", opts.Limit, opts.Page)
			}
			client, err := e.client()
			if err != nil {
				return err
			}
			page, err := client.Snapshots(cmd.Context(), opts)
			if err != nil {
				return err
			}
			if page.Items == nil {
				page.Items = []api.Snapshot{}
			}
			err = o.print(e.out, page.Items, func() error {
				st := e.style(e.out)
				t := table{header: []string{"NAME", "STATE", "CPU", "MEMORY", "DISK", "LAST USED"}, paint: stateColumn(st, 1)}
				for _, s := range page.Items {
					used := "-"
					if s.LastUsedAt != nil {
						used = ago(s.LastUsedAt.Time, time.Now())
					}
					t.add(s.Name, string(s.State), fmt.Sprint(s.CPU), fmt.Sprintf("%d GiB", s.Mem), fmt.Sprintf("%d GiB", s.Disk), used)
				}
				return t.write(e.out, st)
			})
			if err == nil && page.Page < page.TotalPages {
				fmt.Fprintf(e.err, "There are more: --page %d continues.\n", page.Page+1)
			}
			return err
		},
	}
	o.flags(cmd)
	cmd.Flags().IntVarP(&opts.Limit, "limit", "l", 100, "snapshots per page, 1 to 200")
	cmd.Flags().IntVarP(&opts.Page, "page", "p", 1, "page")
	cmd.Flags().StringVar(&opts.Name, "name", "", "only names that contain this")
	return cmd
}

func (e *env) snapshotInfoCmd() *cobra.Command {
	var o output
	cmd := &cobra.Command{
		Use: "info NAME", Aliases: []string{"view", "inspect", "get"}, Short: "Show a snapshot",
		Args: exactly(1, "the name or id of a snapshot"), ValidArgsFunction: e.completeSnapshots,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.check(); err != nil {
				return err
			}
			client, err := e.client()
			if err != nil {
				return err
			}
			s, err := client.Snapshot(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return o.print(e.out, s, func() error {
				st := e.style(e.out)
				rows := [][2]string{{"Name", s.Name}, {"ID", s.ID}, {"State", string(s.State)}}
				if s.ErrorReason != nil {
					rows = append(rows, [2]string{"Error", *s.ErrorReason})
				}
				rows = append(rows, [2]string{"Image", s.ImageName},
					[2]string{"Resources", resources(s.CPU, s.Mem, s.Disk)},
					[2]string{"Entrypoint", strings.Join(s.Entrypoint, " ")}, [2]string{"Regions", strings.Join(s.RegionIDs, ", ")},
					[2]string{"Created", s.CreatedAt.Local().Format(time.DateTime)})
				for _, r := range rows {
					if r[1] == "" {
						continue
					}
					if _, err := fmt.Fprintf(e.out, "%s %s\n", st.bold(fmt.Sprintf("%-16s", r[0])), cleanLine(r[1])); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
	o.flags(cmd)
	return cmd
}
