package cli

import (
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/dugout-dev/dugout/internal/config"
)

// settings are the flags of a command that reads the configuration: one for each setting, and --config.
type settings struct {
	file   string
	values map[string]*string
}

func (s *settings) flags(f *pflag.FlagSet) {
	f.StringVar(&s.file, "config", "", "configuration file; default: $DUGOUT_CONFIG, else "+config.DefaultFile+" where it exists")
	s.values = map[string]*string{}
	for _, set := range config.Settings() {
		if set.Flag != "" {
			s.values[set.Flag] = f.String(set.Flag, "", set.Doc+" [$"+set.Env+"]")
		}
	}
}

// load reads the configuration with the flags that were given.
func (s *settings) load(cmd *cobra.Command) (*config.Effective, error) {
	in := config.Input{File: s.file, Flags: map[string]string{}, LookupEnv: os.LookupEnv, Environ: os.Environ}
	for name, v := range s.values {
		if cmd.Flags().Changed(name) {
			in.Flags[name] = *v
		}
	}
	return config.Load(in)
}

func (e *env) configCmd() *cobra.Command {
	var o output
	var s settings
	cmd := &cobra.Command{
		Use: "config", Short: "Print the effective configuration and where each value comes from",
		Long: `Prints the configuration that dugout up would run with here. A value comes from the first of: a flag, the environment,
the configuration file, the default. Secrets are hidden.`,
		Args: exactly(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(); err != nil {
				return err
			}
			eff, err := s.load(cmd)
			if err != nil {
				return err
			}
			for _, w := range eff.Warnings {
				e.warn("%s", w)
			}
			type row struct {
				Key    string `json:"key"`
				Value  string `json:"value"`
				Source string `json:"source"`
				Env    string `json:"env"`
				Flag   string `json:"flag,omitempty"`
			}
			rows := []row{}
			for _, v := range eff.Values {
				rows = append(rows, row{v.Setting.Key, v.Text, v.Source, v.Setting.Env, v.Setting.Flag})
			}
			return o.print(e.out, rows, func() error {
				t := table{header: []string{"SETTING", "VALUE", "SOURCE"}}
				for _, r := range rows {
					if r.Value == "" {
						r.Value = "-"
					}
					t.add(r.Key, r.Value, r.Source)
				}
				return t.write(e.out, e.style(e.out))
			})
		},
	}
	o.flags(cmd)
	s.flags(cmd.Flags())
	return cmd
}
