//go:build linux

package gogit

import (
	"bytes"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	git "github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/config"
	"github.com/go-git/go-git/v5/plumbing"
	raw "github.com/go-git/go-git/v5/plumbing/format/config"

	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/daemon/git/op"
	"github.com/dugout-dev/dugout/internal/errs"
)

// file is where the settings of a scope are.
func (l *Library) file(r *op.Request) (string, error) {
	switch r.Scope {
	case "system":
		return "/etc/gitconfig", nil
	case "local":
		p, err := l.open(r.Dir)
		if err != nil {
			return "", err
		}
		if p.bare {
			return filepath.Join(p.dir, "config"), nil
		}
		return filepath.Join(p.dir, ".git", "config"), nil
	}
	path := filepath.Join(l.Home, ".gitconfig")
	if _, err := os.Stat(path); err != nil {
		if other := filepath.Join(l.Home, ".config", "git", "config"); exists(other) {
			return other, nil
		}
	}
	return path, nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// split takes section.subsection.name apart.
func split(key string) (section, subsection, name string) {
	section, rest, _ := strings.Cut(key, ".")
	if i := strings.LastIndexByte(rest, '.'); i >= 0 {
		return section, rest[:i], rest[i+1:]
	}
	return section, "", rest
}

func (l *Library) settings(r *op.Request) (*op.Result, error) {
	path, err := l.file(r)
	if err != nil {
		return nil, err
	}
	cfg := raw.New()
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, op.Unwritable("the "+r.Scope+" configuration", op.Reason(err))
	}
	if err := raw.NewDecoder(bytes.NewReader(text)).Decode(cfg); err != nil {
		return nil, errs.Wrap(err, errs.Conflict, "the %s configuration is malformed", r.Scope)
	}
	if r.Kind == op.GetConfig {
		section, subsection, name := split(r.Settings[0].Key)
		var values []string
		if subsection != "" {
			if s := cfg.Section(section); s.HasSubsection(subsection) {
				values = s.Subsection(subsection).OptionAll(name)
			}
		} else {
			values = cfg.Section(section).OptionAll(name)
		}
		if len(values) == 0 {
			return &op.Result{}, nil
		}
		v := valid(values[len(values)-1])
		return &op.Result{Value: &v}, nil
	}
	for _, s := range r.Settings {
		section, subsection, name := split(s.Key)
		if subsection != "" {
			cfg.Section(section).Subsection(subsection).RemoveOption(name)
		} else {
			cfg.Section(section).RemoveOption(name)
		}
		cfg.AddOption(section, subsection, name, s.Value)
	}
	var out bytes.Buffer
	if err := raw.NewEncoder(&out).Encode(cfg); err != nil {
		return nil, err
	}
	if err := replace(path, out.Bytes(), 0o644); err != nil {
		return nil, op.Unwritable("the "+r.Scope+" configuration", op.Reason(err))
	}
	return &op.Result{}, nil
}

// replace writes a file whole or not at all. One that is there keeps its permissions.
func replace(path string, text []byte, perm os.FileMode) error {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	if st, err := os.Stat(path); err == nil {
		perm = st.Mode().Perm()
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".git-new-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }()
	_, err = f.Write(text)
	if err := errors.Join(err, f.Chmod(perm), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// store keeps credentials where git's own store would.
func (l *Library) store(r *op.Request) (*op.Result, error) {
	path := filepath.Join(l.Home, ".git-credentials")
	old, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, op.Unwritable(path, op.Reason(err))
	}
	scheme, host, _ := strings.Cut(r.URL.Origin, "://")
	u := url.URL{Scheme: scheme, Host: host}
	lines := []string{scheme + "://" + escape(r.Auth.Username) + ":" + escape(r.Auth.Password) + "@" + host}
	for line := range strings.Lines(string(old)) {
		line = strings.TrimSpace(line)
		have, err := url.Parse(line)
		if line == "" || err == nil && have.Scheme == u.Scheme && have.Host == u.Host && have.User.Username() == r.Auth.Username {
			continue
		}
		lines = append(lines, line)
	}
	if err := replace(path, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		return nil, op.Unwritable(path, op.Reason(err))
	}
	got, err := l.settings(&op.Request{Kind: op.GetConfig, Scope: "global", Settings: []op.Setting{{Key: "credential.helper"}}})
	if err != nil || got.Value != nil && *got.Value == "store" {
		return &op.Result{}, err
	}
	return l.settings(&op.Request{Kind: op.SetConfig, Scope: "global", Settings: []op.Setting{{Key: "credential.helper", Value: "store"}}})
}

// escape writes all but plain characters with percent signs.
func escape(s string) string {
	const hex = "0123456789abcdef"
	var b strings.Builder
	for _, c := range []byte(s) {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~", c) >= 0 {
			b.WriteByte(c)
		} else {
			b.Write([]byte{'%', hex[c>>4], hex[c&15]})
		}
	}
	return b.String()
}

// stored looks for credentials that were kept for an origin.
func (l *Library) stored(origin string) *op.Auth {
	text, err := os.ReadFile(filepath.Join(l.Home, ".git-credentials"))
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		scheme, rest, _ := strings.Cut(line, "://")
		at := strings.LastIndexByte(rest, '@')
		if at < 0 {
			continue
		}
		host, err := url.PathUnescape(strings.TrimSuffix(rest[at+1:], "/"))
		if err != nil || scheme+"://"+host != origin {
			continue
		}
		name, secret, _ := strings.Cut(rest[:at], ":")
		n, err1 := url.PathUnescape(name)
		s, err2 := url.PathUnescape(secret)
		if err1 == nil && err2 == nil && n != "" && s != "" {
			return &op.Auth{Username: n, Password: s}
		}
	}
	return nil
}

func (p *repo) remotes() (*op.Result, error) {
	cfg, err := p.Storer.Config()
	if err != nil {
		return nil, err
	}
	r := &op.Result{Remotes: []toolbox.GitRemote{}}
	for name, remote := range cfg.Remotes {
		if len(remote.URLs) > 0 {
			r.Remotes = append(r.Remotes, toolbox.GitRemote{Name: valid(name), URL: valid(op.Shown(remote.URLs[0]))})
		}
	}
	slices.SortFunc(r.Remotes, func(a, b toolbox.GitRemote) int { return strings.Compare(a.Name, b.Name) })
	return r, nil
}

func (l *Library) init(r *op.Request) (*op.Result, error) {
	if err := op.MakeDir(r.Dir); err != nil {
		return nil, err
	}
	branch := r.Branch
	if branch == "" {
		got, err := l.settings(&op.Request{Kind: op.GetConfig, Scope: "global", Settings: []op.Setting{{Key: "init.defaultBranch"}}})
		if err == nil && got.Value != nil && op.BranchName(*got.Value) == nil {
			branch = *got.Value
		} else {
			branch = "master"
		}
	}
	_, err := git.PlainInitWithOptions(r.Dir, &git.PlainInitOptions{Bare: r.Bare, InitOptions: git.InitOptions{DefaultBranch: plumbing.NewBranchReferenceName(branch)}})
	if errors.Is(err, git.ErrRepositoryAlreadyExists) {
		err = nil
	}
	return &op.Result{}, err
}

// fetchSpec is what git gives a new remote.
func fetchSpec(remote string) []config.RefSpec {
	return []config.RefSpec{config.RefSpec("+refs/heads/*:refs/remotes/" + remote + "/*")}
}
