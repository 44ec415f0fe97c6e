package cli

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dugout-dev/dugout/internal/config"
	dugout "github.com/dugout-dev/dugout/sdk/go"
)

// client returns the client for the server that flags and environment name, or else for the one of this host.
func (e *env) client() (*dugout.Client, error) {
	agent := "dugout-cli/" + e.deps.Version
	c, err := dugout.New(dugout.Options{APIURL: e.apiURL, UserAgent: agent})
	if !errors.Is(err, dugout.ErrNoKey) {
		return c, err
	}
	given := cmp.Or(e.apiURL, os.Getenv("DUGOUT_API_URL"), os.Getenv("DAYTONA_API_URL"))
	if given != "" && !loopback(given) { // the local administrator's key is not for others
		return nil, err
	}
	local, lerr := dugout.Local(dataDir())
	if lerr != nil {
		return nil, lerr
	}
	if given != "" {
		local.APIURL = given
	}
	if !loopback(local.APIURL) {
		return nil, fmt.Errorf("%w for %s: the local administrator's key is sent to this host only", dugout.ErrNoKey, local.APIURL)
	}
	local.UserAgent = agent
	return dugout.New(local)
}

// dataDir is where the installation on this host keeps its key, as its own configuration says. A configuration that is not
// readable or not right is not this command's business.
func dataDir() string {
	if eff, err := config.Load(config.Input{}); err == nil {
		return eff.Config.DataDir
	}
	return os.Getenv("DUGOUT_DATA")
}

func loopback(rawURL string) bool {
	u, err := url.Parse(rawURL)
	if err != nil {
		return false
	}
	if h := u.Hostname(); h != "localhost" {
		ip := net.ParseIP(h)
		return ip != nil && ip.IsLoopback()
	}
	return true
}

// exactly is the check of positional arguments, with a message that says what is missing.
func exactly(n int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != n {
			return &usageError{msg: fmt.Sprintf("%s takes %s", cmd.CommandPath(), what), hint: strings.TrimSpace("usage: " + cmd.UseLine())}
		}
		return nil
	}
}
