package cli

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

func (e *env) fileCmd() *cobra.Command {
	cmd := group(&cobra.Command{Use: "file", Aliases: []string{"files"}, Short: "Copy and list files of sandboxes"})
	cmd.AddCommand(e.cpCmd(), e.fileListCmd())
	return cmd
}

func (e *env) fileListCmd() *cobra.Command {
	var o output
	var depth int
	cmd := &cobra.Command{
		Use: "ls NAME:PATH", Aliases: []string{"list"}, Short: "List a directory of a sandbox",
		Args: exactly(1, "NAME:PATH, a directory of a sandbox"), ValidArgsFunction: e.completePlaces,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.check(); err != nil {
				return err
			}
			p := parsePlace(args[0])
			if p.sandbox == "" {
				return usagef("%q names no sandbox; write NAME:PATH", args[0])
			}
			if depth < 1 {
				return usagef("--depth must be at least 1, got %d", depth)
			}
			client, err := e.client()
			if err != nil {
				return err
			}
			s, err := client.Get(cmd.Context(), p.sandbox)
			if err != nil {
				return err
			}
			list, err := s.Files().List(cmd.Context(), p.path, depth)
			if err != nil {
				return err
			}
			return o.print(e.out, list, func() error {
				t := table{header: []string{"MODE", "OWNER", "SIZE", "CHANGED", "NAME"}}
				for _, f := range list {
					name := f.Name
					if f.Path != "" {
						name = f.Path
					}
					if f.IsDir {
						name += "/"
					}
					changed := f.ModifiedAt
					if at, err := time.Parse(time.RFC3339, changed); err == nil {
						changed = at.Local().Format(time.DateTime)
					}
					t.add(f.Mode, f.Owner+":"+f.Group, strconv.FormatInt(f.Size, 10), changed, name)
				}
				return t.write(e.out, e.style(e.out))
			})
		},
	}
	o.flags(cmd)
	cmd.Flags().IntVar(&depth, "depth", 1, "levels of directories")
	return cmd
}

func (e *env) cpCmd() *cobra.Command {
	return &cobra.Command{
		Use: "cp SOURCE DESTINATION", Short: "Copy a file or a folder to or from a sandbox",
		Long: `Copies a file or a folder between this host and a sandbox. The side in the sandbox is written NAME:PATH; a PATH that does
not begin with / counts from the sandbox's working directory. - is standard input or output.

  dugout cp notes.txt box:                 into the working directory
  dugout cp ./data box:/srv/data           a folder; into /srv/data if that exists, else as /srv/data
  dugout cp ./data/. box:/srv/data         what is in the folder
  dugout cp box:out/report.pdf .
  dugout cp box:/var/log/app.log -

Files that exist are replaced. Permissions of files come along, owners do not. Symbolic links to files are copied as what
they point to. Links to folders are not followed: from here they are left out with a warning, as special files are, from a
sandbox they come as empty folders. One folder of a sandbox may hold at most 100,000 entries, those below it not counted.`,
		Args: exactly(2, "a source and a destination"), ValidArgsFunction: e.completePlaces,
		RunE: func(cmd *cobra.Command, args []string) error {
			from, to := parsePlace(args[0]), parsePlace(args[1])
			switch {
			case from.sandbox == "" && to.sandbox == "":
				return usagef("neither %q nor %q is in a sandbox; write that side as NAME:PATH", args[0], args[1])
			case from.sandbox != "" && to.sandbox != "":
				return usagef("copying from one sandbox to another goes through this host: copy from %s here first", from.sandbox)
			}
			client, err := e.client()
			if err != nil {
				return err
			}
			s, err := client.Get(cmd.Context(), from.sandbox+to.sandbox)
			if err != nil {
				return err
			}
			c := &copier{env: e, files: s.Files(), name: s.Name}
			if to.sandbox != "" {
				err = c.upload(cmd.Context(), from.path, to.path)
			} else {
				err = c.download(cmd.Context(), from.path, to.path)
			}
			c.bar.end()
			for _, w := range c.skipped {
				e.warn("%s", w)
			}
			if err != nil {
				return err
			}
			n := c.count.Load()
			e.note("%d %s, %s", n, strings.TrimSuffix("files", plural(n)), size(c.bytes.Load()))
			return nil
		},
	}
}

// plural is what to take off a plural for n things.
func plural(n int64) string {
	if n == 1 {
		return "s"
	}
	return ""
}

func skippedMessage(path, why string) string { return fmt.Sprintf("%s was left out: %s", path, why) }
