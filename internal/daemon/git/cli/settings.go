//go:build linux

package cli

import (
	"context"
	"slices"
	"strings"

	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/daemon/git/op"
	"github.com/dugout-dev/dugout/internal/errs"
)

// scope makes sure of the repository where one is needed.
func (c *repo) scope(ctx context.Context, r *op.Request) (string, error) {
	if r.Scope == "local" {
		return "--local", c.check(ctx)
	}
	return "--" + r.Scope, nil
}

func (c *repo) getConfig(ctx context.Context, r *op.Request) (*op.Result, error) {
	scope, err := c.scope(ctx, r)
	if err != nil {
		return nil, err
	}
	a, err := c.run(ctx, command{args: []string{"config", scope, "-z", "--get", r.Settings[0].Key}})
	switch {
	case err != nil:
		return nil, err
	case a.code == 1, a.code == 128 && strings.TrimSpace(a.out) == "" && says(a, "unable to read config file"): // the file is not there
		return &op.Result{}, nil
	case a.code != 0:
		return nil, c.configFault(a, r.Scope)
	}
	v := valid(strings.TrimSuffix(a.out, "\x00"))
	return &op.Result{Value: &v}, nil
}

func (c *repo) setConfig(ctx context.Context, r *op.Request) (*op.Result, error) {
	scope, err := c.scope(ctx, r)
	if err != nil {
		return nil, err
	}
	for _, s := range r.Settings {
		a, err := c.run(ctx, command{args: []string{"config", scope, "--replace-all", s.Key, s.Value}})
		if err != nil {
			return nil, err
		}
		if a.code != 0 {
			return nil, c.configFault(a, r.Scope)
		}
	}
	return &op.Result{}, nil
}

// configFault goes by the exit codes of git config.
func (c *repo) configFault(a *answer, scope string) error {
	why, _ := words(a)
	switch a.code {
	case 1:
		return errs.New(errs.Invalid, "git does not accept the key: %s", op.Clip(why))
	case 3:
		return errs.New(errs.Conflict, "the %s configuration is malformed: %s", scope, op.Clip(why))
	case 4:
		return op.Unwritable("the "+scope+" configuration", why)
	}
	if strings.Contains(why, "could not lock config file") {
		return op.Unwritable("the "+scope+" configuration", why)
	}
	return c.fault(a)
}

// store hands credentials to git's own store, which keeps them in a file of the user, and makes git use it.
func (c *repo) store(ctx context.Context, r *op.Request) (*op.Result, error) {
	scheme, host, _ := strings.Cut(r.URL.Origin, "://")
	text := "protocol=" + scheme + "\nhost=" + host + "\nusername=" + r.Auth.Username + "\npassword=" + r.Auth.Password + "\n\n"
	a, err := c.run(ctx, command{args: []string{"credential-store", "store"}, stdin: []byte(text)})
	if err != nil {
		return nil, err
	}
	if a.code != 0 {
		return nil, c.fault(a)
	}
	a, err = c.run(ctx, command{args: []string{"config", "--global", "-z", "--get-all", "credential.helper"}})
	if err != nil {
		return nil, err
	}
	if slices.Contains(strings.Split(a.out, "\x00"), "store") {
		return &op.Result{}, nil
	}
	a, err = c.run(ctx, command{args: []string{"config", "--global", "--add", "credential.helper", "store"}})
	if err != nil {
		return nil, err
	}
	if a.code != 0 {
		return nil, c.configFault(a, "global")
	}
	return &op.Result{}, nil
}

func (c *repo) remotes(ctx context.Context) (*op.Result, error) {
	a, err := c.run(ctx, command{args: []string{"config", "-z", "--get-regexp", `^remote\..*\.url$`}})
	if err != nil {
		return nil, err
	}
	if a.code > 1 {
		return nil, c.fault(a)
	}
	r := &op.Result{Remotes: []toolbox.GitRemote{}}
	for record := range strings.SplitSeq(strings.TrimSuffix(a.out, "\x00"), "\x00") {
		key, url, ok := strings.Cut(record, "\n")
		name := valid(remoteName(key))
		if !ok || slices.ContainsFunc(r.Remotes, func(x toolbox.GitRemote) bool { return x.Name == name }) {
			continue // further addresses of a remote are for pushing
		}
		r.Remotes = append(r.Remotes, toolbox.GitRemote{Name: name, URL: valid(op.Shown(url))})
	}
	slices.SortFunc(r.Remotes, func(a, b toolbox.GitRemote) int { return strings.Compare(a.Name, b.Name) })
	return r, nil
}

func (c *repo) addRemote(ctx context.Context, r *op.Request) (*op.Result, error) {
	there, err := c.asks(ctx, "config", "--get", "remote."+r.Remote+".url")
	if err != nil {
		return nil, err
	}
	switch {
	case there && !r.Replace:
		return nil, op.RemoteExists(r.Remote)
	case there:
		_, err = c.ok(ctx, "remote", "set-url", r.Remote, r.URL.Text)
	default:
		_, err = c.ok(ctx, "remote", "add", r.Remote, r.URL.Text)
	}
	if err != nil || !r.Fetch {
		return &op.Result{}, err
	}
	return &op.Result{}, c.talk(ctx, nil, r.URL.Text, "fetch", "-q", r.Remote)
}
