//go:build linux

package pty

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/daemon/environ"
	"github.com/dugout-dev/dugout/internal/daemon/ws"
	"github.com/dugout-dev/dugout/internal/errs"
)

// Size of a terminal that names none.
const (
	defaultCols = 80
	defaultRows = 24
)

// checkID verifies a name: it is part of URL paths, of clients too that do not escape it.
func checkID(id string) error {
	switch {
	case id == "":
		return errs.New(errs.Invalid, "id must not be empty")
	case len(id) > MaxID || !utf8.ValidString(id) || strings.ContainsRune(id, '/') || strings.ContainsFunc(id, unicode.IsControl):
		return errs.New(errs.Invalid, "id must be at most %d bytes of text without a slash or control characters", MaxID)
	case id == "create-connect" || id == "." || id == "..":
		return errs.New(errs.Invalid, "id must not be %q, which has another meaning in a path", id)
	}
	return nil
}

func checkSize(cols, rows, least int) error {
	for _, v := range []struct {
		name   string
		n, max int
	}{{"cols", cols, toolbox.MaxTerminalCols}, {"rows", rows, toolbox.MaxTerminalRows}} {
		if v.n < least || v.n > v.max {
			return errs.New(errs.Invalid, "%s must be from %d to %d, got %d", v.name, least, v.max, v.n)
		}
	}
	return nil
}

// offeredEnvs reads the environment among the offered subprotocols.
func offeredEnvs(offered []string) (map[string]string, error) {
	for _, p := range offered {
		text, ok := strings.CutPrefix(p, ws.EnvsProtocol)
		if !ok {
			continue
		}
		b, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(text, "="))
		if err != nil {
			return nil, errs.New(errs.Invalid, "the subprotocol %s must go on with base64url: %v", ws.EnvsProtocol, err)
		}
		var envs map[string]string
		if err := json.Unmarshal(b, &envs); err != nil {
			return nil, errs.New(errs.Invalid, "the subprotocol %s must hold a JSON object of strings", ws.EnvsProtocol)
		}
		return envs, nil
	}
	return nil, nil
}

// make registers a terminal. Its shell is not started.
func (h *Handler) make(b toolbox.PtyCreate) (*terminal, error) {
	if err := checkID(b.ID); err != nil {
		return nil, err
	}
	cols, rows := defaultCols, defaultRows
	if b.Cols != nil && *b.Cols != 0 {
		cols = *b.Cols
	}
	if b.Rows != nil && *b.Rows != 0 {
		rows = *b.Rows
	}
	if err := checkSize(cols, rows, 0); err != nil {
		return nil, err
	}
	if err := environ.Check(b.Envs); err != nil {
		return nil, err
	}
	if strings.IndexByte(b.Cwd, 0) >= 0 || len(b.Cwd) > 4096 {
		return nil, errs.New(errs.Invalid, "cwd must be at most 4096 bytes without a NUL byte")
	}
	dir := h.Workdir
	if b.Cwd != "" {
		if dir = b.Cwd; dir[0] != '/' {
			dir = path.Join(h.Workdir, dir)
		}
		if st, err := os.Stat(dir); err != nil || !st.IsDir() {
			return nil, errs.Wrap(err, errs.Invalid, "cwd %q is not a directory that can be reached", clip(dir))
		}
	}
	envs := b.Envs
	if envs == nil {
		envs = map[string]string{}
	}
	t := h.newTerminal(b.ID, dir, envs)
	t.lazy, t.cols, t.rows = b.LazyStart, cols, rows
	h.gate.RLock()
	defer h.gate.RUnlock()
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.closed:
		return nil, errs.New(errs.Unavailable, "the daemon ends")
	case h.terminals[b.ID] != nil:
		return nil, errs.New(errs.Conflict, "a terminal named %q exists", clip(b.ID))
	case len(h.terminals) >= MaxTerminals:
		return nil, errs.New(errs.Exhausted, "there are %d terminals already, which is the most; delete one", MaxTerminals)
	}
	if h.terminals == nil {
		h.terminals = map[string]*terminal{}
	}
	h.terminals[b.ID] = t
	return t, nil
}

func (h *Handler) newTerminal(id, dir string, envs map[string]string) *terminal {
	return &terminal{h: h, id: id, dir: dir, envs: envs, created: time.Now(), clients: map[*ws.Conn]struct{}{},
		room: make(chan struct{}, 1), hurry: make(chan struct{}), done: make(chan struct{})}
}

func (h *Handler) find(id string) (*terminal, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if t := h.terminals[id]; t != nil {
		return t, nil
	}
	return nil, errs.New(errs.NotFound, "no terminal %q", clip(id)).WithCode("NOT_FOUND")
}

// all returns the terminals, oldest first.
func (h *Handler) all() []*terminal {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.SortedFunc(maps.Values(h.terminals), func(a, b *terminal) int {
		if c := a.created.Compare(b.created); c != 0 {
			return c
		}
		return strings.Compare(a.id, b.id)
	})
}

// forget removes t, if it is the one that has its name.
func (h *Handler) forget(t *terminal) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.terminals[t.id] == t {
		delete(h.terminals, t.id)
	}
}

func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "…"
	}
	return s
}
