package cli

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"
)

func (e *env) versionCmd() *cobra.Command {
	var o output
	cmd := &cobra.Command{
		Use: "version", Short: "Print the version", Args: exactly(0, "no arguments"),
		RunE: func(*cobra.Command, []string) error {
			v := struct {
				Version string `json:"version"`
				Go      string `json:"go"`
				OS      string `json:"os"`
				Arch    string `json:"arch"`
			}{e.deps.Version, runtime.Version(), runtime.GOOS, runtime.GOARCH}
			return o.print(e.out, v, func() error {
				_, err := fmt.Fprintf(e.out, "dugout %s (%s, %s/%s)\n", v.Version, v.Go, v.OS, v.Arch)
				return err
			})
		},
	}
	o.flags(cmd)
	return cmd
}
