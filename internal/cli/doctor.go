package cli

import (
	"fmt"

	"github.com/spf13/cobra"
)

// Finding is what one check of this host found.
type Finding struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`        // what is there, or what is wrong
	Fix    string `json:"fix,omitempty"` // what mends it
}

func (e *env) doctorCmd() *cobra.Command {
	var o output
	var s settings
	cmd := &cobra.Command{
		Use: "doctor", Short: "Check that this host can run sandboxes",
		Long: `Checks what sandboxes need of this host and says, for all that is missing, how to mend it. Exits with 1 when a check fails.`,
		Args: exactly(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(); err != nil {
				return err
			}
			eff, err := s.load(cmd)
			if err != nil {
				return err
			}
			findings := e.deps.Doctor(cmd.Context(), eff.Config)
			for _, w := range eff.Warnings {
				findings = append(findings, Finding{Name: "configuration", Detail: w, Fix: "correct or remove the variable"})
			}
			if findings == nil {
				findings = []Finding{}
			}
			bad := 0
			for _, f := range findings {
				if !f.OK {
					bad++
				}
			}
			err = o.print(e.out, findings, func() error { return e.showFindings(findings) })
			if err == nil && bad > 0 {
				err = &exitError{code: exitFailure, err: fmt.Errorf("%d of %d checks failed", bad, len(findings))}
			}
			return err
		},
	}
	o.flags(cmd)
	s.flags(cmd.Flags())
	return cmd
}

func (e *env) showFindings(findings []Finding) error {
	st := e.style(e.out)
	t := table{header: []string{"CHECK", "RESULT", "DETAIL"}, paint: func(i int, cell string) func(string) string {
		switch {
		case i == 1 && cell == "ok":
			return st.green
		case i == 1:
			return st.red
		}
		return nil
	}}
	for _, f := range findings {
		result, detail := "ok", f.Detail
		if !f.OK {
			result = "failed"
			if f.Fix != "" {
				detail += "; to mend it: " + f.Fix
			}
		}
		t.add(f.Name, result, detail)
	}
	return t.write(e.out, st)
}
