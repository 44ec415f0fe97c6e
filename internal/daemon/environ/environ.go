// Package environ keeps the environment that the daemon's children get: the daemon's own, which the engine made from the
// image and the sandbox, without the platform's internal variables, with defaults for what every program expects, and
// with the changes made since.
package environ

import (
	"maps"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/dugout-dev/dugout/internal/daemon/accounts"
	"github.com/dugout-dev/dugout/internal/errs"
)

// InternalPrefix starts the names that never reach a child.
const InternalPrefix = "DUGOUT_"

// DefaultPath is the search path where the image sets none.
const DefaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Env is the environment for children. It is safe for concurrent use.
type Env struct {
	mu   sync.Mutex // guards vars
	vars map[string]string
}

// FromProcess returns the environment derived from that of this process and its user's entry in the passwd file.
func FromProcess() *Env {
	vars := map[string]string{}
	for _, kv := range os.Environ() {
		if k, v, ok := strings.Cut(kv, "="); ok && k != "" && !strings.HasPrefix(k, InternalPrefix) {
			vars[k] = v
		}
	}
	def := func(k string, v func() string) {
		if vars[k] == "" {
			if s := v(); s != "" {
				vars[k] = s
			}
		}
	}
	user := sync.OnceValue(func() accounts.User { u, _ := accounts.UserByID(os.Getuid()); return u })
	def("HOME", func() string {
		if h := user().Home; h != "" {
			return h
		}
		return "/"
	})
	def("USER", func() string { return user().Name })
	def("PATH", func() string { return DefaultPath })
	def("LANG", func() string { return "C.UTF-8" })
	return &Env{vars: vars}
}

// New returns an environment of exactly vars.
func New(vars map[string]string) *Env { return &Env{vars: maps.Clone(vars)} }

// Get returns a variable's value, or "".
func (e *Env) Get(name string) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.vars[name]
}

// All returns a copy of the environment.
func (e *Env) All() map[string]string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return maps.Clone(e.vars)
}

// Set makes the environment exactly vars.
func (e *Env) Set(vars map[string]string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.vars = maps.Clone(vars)
}

// List returns the environment with extra on top, as exec wants it: sorted, so that equal requests run equally.
func (e *Env) List(extra map[string]string) []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := make([]string, 0, len(e.vars)+len(extra))
	for k, v := range e.vars {
		if _, over := extra[k]; !over {
			out = append(out, k+"="+v)
		}
	}
	for k, v := range extra {
		out = append(out, k+"="+v)
	}
	slices.Sort(out)
	return out
}

// Update changes the environment of processes started from now on: first it removes the names in unset, then every
// variable whose value starts with valuePrefix and which is not in set (an empty prefix: none), then it sets set.
func (e *Env) Update(set map[string]string, unset []string, valuePrefix string) error {
	if err := Check(set); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, k := range unset {
		delete(e.vars, k)
	}
	if valuePrefix != "" {
		for k, v := range e.vars {
			if _, kept := set[k]; !kept && strings.HasPrefix(v, valuePrefix) {
				delete(e.vars, k)
			}
		}
	}
	maps.Copy(e.vars, set)
	return nil
}

// Check verifies names and values that came with a request.
func Check(vars map[string]string) error {
	for k, v := range vars {
		if !validName(k) {
			return errs.New(errs.Invalid, "environment variable name %q must match ^[A-Za-z_][A-Za-z0-9_]*$", clip(k))
		}
		if strings.IndexByte(v, 0) >= 0 {
			return errs.New(errs.Invalid, "the value of environment variable %s must not contain a NUL byte", clip(k))
		}
	}
	return nil
}

func validName(s string) bool {
	for i, c := range []byte(s) {
		if c != '_' && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}

func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "…"
	}
	return s
}
