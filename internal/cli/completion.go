package cli

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	dugout "github.com/dugout-dev/dugout/sdk/go"
)

// completionPatience is how long a shell waits for names before it shows none.
const completionPatience = time.Second

func (e *env) completionCmd() *cobra.Command {
	return &cobra.Command{
		Use: "completion bash|zsh|fish|powershell", Aliases: []string{"autocomplete"}, Short: "Print the completion script of a shell",
		Long: `Prints a script that makes a shell complete commands, flags and the names of sandboxes and snapshots.

  bash        source <(dugout completion bash)
  zsh         source <(dugout completion zsh)
  fish        dugout completion fish | source
  powershell  dugout completion powershell | Out-String | Invoke-Expression`,
		Args:      exactly(1, "the name of a shell: bash, zsh, fish or powershell"),
		ValidArgs: []string{"bash", "zsh", "fish", "powershell"},
		RunE: func(cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(e.out, true)
			case "zsh":
				return root.GenZshCompletion(e.out)
			case "fish":
				return root.GenFishCompletion(e.out, true)
			case "powershell":
				return root.GenPowerShellCompletionWithDesc(e.out)
			}
			return usagef("the shell must be bash, zsh, fish or powershell, got %q", args[0])
		},
	}
}

// completeSandboxes completes names of sandboxes for the first n arguments, -1: for all of them. When the server does not
// answer soon there are no names, and no message: it would land in the middle of a command line.
func (e *env) completeSandboxes(n int) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if n >= 0 && len(args) >= n {
			return nil, cobra.ShellCompDirectiveDefault
		}
		var out []cobra.Completion
		for _, s := range e.sandboxNames(cmd.Context(), prefix) {
			if !contains(args, s.Name) {
				out = append(out, cobra.CompletionWithDesc(s.Name, string(s.State)))
			}
		}
		return out, cobra.ShellCompDirectiveNoFileComp
	}
}

// completePlaces completes NAME: on the side of a sandbox, and files otherwise.
func (e *env) completePlaces(cmd *cobra.Command, args []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) >= 2 || strings.ContainsAny(prefix, "/.:") {
		return nil, cobra.ShellCompDirectiveDefault
	}
	var out []cobra.Completion
	for _, s := range e.sandboxNames(cmd.Context(), prefix) {
		out = append(out, cobra.CompletionWithDesc(s.Name+":", string(s.State)))
	}
	if len(out) == 0 {
		return nil, cobra.ShellCompDirectiveDefault
	}
	return out, cobra.ShellCompDirectiveNoSpace
}

func (e *env) sandboxNames(ctx context.Context, prefix string) []*dugout.Sandbox {
	ctx, cancel := context.WithTimeout(ctx, completionPatience)
	defer cancel()
	client, err := e.client()
	if err != nil {
		return nil
	}
	var out []*dugout.Sandbox
	page, err := client.ListPage(ctx, dugout.ListOptions{Name: prefix, Limit: 100})
	if err != nil {
		return nil
	}
	for _, it := range page.Items {
		if plainName(it.Name) && strings.HasPrefix(it.Name, prefix) {
			s := &dugout.Sandbox{}
			s.Name, s.State = it.Name, it.State
			out = append(out, s)
		}
	}
	return out
}

func (e *env) completeSnapshots(cmd *cobra.Command, args []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completionPatience)
	defer cancel()
	client, err := e.client()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	page, err := client.Snapshots(ctx, dugout.SnapshotListOptions{Limit: 100})
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var out []cobra.Completion
	for _, s := range page.Items {
		if plainName(s.Name) && strings.HasPrefix(s.Name, prefix) {
			out = append(out, cobra.CompletionWithDesc(s.Name, string(s.State)))
		}
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

// plainName keeps names out of a shell's hands that it could take for more than a word.
func plainName(s string) bool {
	return s != "" && s[0] != '-' && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && !strings.ContainsRune("-_.:/@+", r)
	})
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}
