//go:build linux

package lsp

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/dugout-dev/dugout/internal/errs"
)

// Limits. The times are in docs/guide/lsp.md.
const (
	maxProjects  = 64 // that were started and not stopped
	maxLive      = 8  // servers that run at one time; the one unused for longest makes room
	maxDocuments = 512

	// DefaultIdle is how long a server lives without a request. The next one starts it again.
	DefaultIdle = 15 * time.Minute

	startTimeout = 60 * time.Second
	stopGrace    = time.Second
)

// requestTimeout is for one request to a server. A variable for the tests.
var requestTimeout = 30 * time.Second

// key names a project: what a client starts and stops.
type key struct{ language, path string }

// project is a language server that a client started, whether or not it runs at the moment.
type project struct {
	key
	turn chan struct{} // holds one token: whoever has it may start the server and open documents

	// Guarded by Handler.mu. documents changes only while turn is held, too.
	proc      *process // nil: it does not run
	documents map[string]*document
	starting  bool
	stopped   bool
	busy      int // requests that use it
	used      time.Time
	timer     *time.Timer // ends the server; set only while it runs and nothing uses it
}

func newProject(k key) *project {
	p := &project{key: k, turn: make(chan struct{}, 1), documents: map[string]*document{}}
	p.turn <- struct{}{}
	return p
}

func notInitialized(k key) error {
	return errs.New(errs.Invalid, "no language server of %s was started for %s; start it first", clip(k.language), clip(k.path)).WithCode(codeNotInitialized)
}

func replacing() error {
	return errs.New(errs.Unavailable, "the daemon is being replaced or stopped; try again")
}

// start makes the project known and starts its server. Starting it again does nothing, unless the server has ended.
func (h *Handler) start(ctx context.Context, k key) error {
	l, err := find(k.language, h.config())
	if err != nil {
		return err
	}
	if _, _, err := l.program(h.Env.Get("PATH")); err != nil {
		return err
	}
	if st, err := os.Stat(k.path); err != nil {
		return fault(err, k.path)
	} else if !st.IsDir() {
		return errs.New(errs.Invalid, "pathToProject must be a directory, %s is none", clip(k.path)).WithCode("INVALID_FILE_PATH")
	}
	h.mu.Lock()
	p, known := h.projects[k]
	if !known {
		if len(h.projects) >= maxProjects {
			h.mu.Unlock()
			return errs.New(errs.Busy, "%d language servers are started already, the most there may be; stop one first", maxProjects)
		}
		if h.projects == nil {
			h.projects, h.live = map[key]*project{}, map[*process]struct{}{}
		}
		p = newProject(k)
		h.projects[k] = p
	}
	h.enter(p)
	h.mu.Unlock()
	defer h.leave(p)
	_, err = h.ready(ctx, p, "")
	if err != nil && !known {
		h.mu.Lock()
		if h.projects[k] == p && p.proc == nil && p.busy == 1 {
			p.stopped = true
			delete(h.projects, k)
		}
		h.mu.Unlock()
	}
	return err
}

// stop forgets the project and ends its server.
func (h *Handler) stop(k key) {
	h.mu.Lock()
	p := h.projects[k]
	if p == nil {
		h.mu.Unlock()
		return
	}
	delete(h.projects, k)
	p.stopped = true
	proc := p.take()
	h.mu.Unlock()
	if proc != nil {
		proc.stop()
	}
}

// take returns the running server and leaves the project without one. The caller holds Handler.mu and ends the server.
func (p *project) take() *process {
	proc := p.proc
	p.proc = nil
	if p.timer != nil {
		p.timer.Stop()
		p.timer = nil
	}
	return proc
}

// enter and leave count requests. enter needs Handler.mu.
func (h *Handler) enter(p *project) {
	p.busy++
	if p.timer != nil {
		p.timer.Stop()
		p.timer = nil
	}
}

func (h *Handler) leave(p *project) {
	h.mu.Lock()
	defer h.mu.Unlock()
	p.busy--
	p.used = time.Now()
	if p.busy > 0 || p.proc == nil || h.closing {
		return
	}
	idle := h.Idle
	if idle == 0 {
		idle = DefaultIdle
	}
	p.timer = time.AfterFunc(idle, func() { h.rest(p) })
}

// rest ends the server of a project that nobody used for long.
func (h *Handler) rest(p *project) {
	h.mu.Lock()
	if p.busy > 0 || h.closing {
		h.mu.Unlock()
		return
	}
	proc := p.take()
	h.mu.Unlock()
	if proc != nil {
		proc.stop()
	}
}

// with calls fn with the running server of a project, in which the document at path ("": none) is open and as it is on disk. When the
// server ends meanwhile, it is started once more and fn called again.
func (h *Handler) with(ctx context.Context, k key, path string, fn func(*process) error) error {
	h.mu.Lock()
	p := h.projects[k]
	if p == nil {
		h.mu.Unlock()
		return notInitialized(k)
	}
	h.enter(p)
	h.mu.Unlock()
	defer h.leave(p)
	for try := 0; ; try++ {
		proc, err := h.ready(ctx, p, path)
		if err != nil {
			return err
		}
		if err = fn(proc); err == nil {
			return nil
		}
		if !errors.Is(err, errEnded) {
			return proc.failed(err, "failed")
		}
		h.mu.Lock()
		stopped, closing := p.stopped, h.frozen || h.closing
		h.mu.Unlock()
		switch {
		case stopped:
			return notInitialized(k)
		case closing:
			return replacing()
		case try > 0:
			return proc.failed(err, "failed twice at this")
		}
	}
}

// ready returns the running server of p, started if need be, with all its documents open. The one at path, if any, is
// opened, or brought up to date.
func (h *Handler) ready(ctx context.Context, p *project, path string) (*process, error) {
	select {
	case <-p.turn:
		defer func() { p.turn <- struct{}{} }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	proc, err := h.running(ctx, p)
	if err != nil {
		return nil, err
	}
	for _, d := range p.documents {
		if d.in == proc || d.path == path {
			continue
		}
		if err := h.sync(p, proc, d); err != nil && !errors.Is(err, errEnded) { // it is gone from the disk: then also from here
			h.forget(p, proc, d)
		}
	}
	if path == "" {
		return proc, nil
	}
	d := p.documents[path]
	if d == nil {
		if len(p.documents) >= maxDocuments {
			return nil, errs.New(errs.Busy, "%d documents are open in this language server, the most there may be; close one first", maxDocuments)
		}
		d = &document{path: path}
	}
	if err := h.sync(p, proc, d); err != nil && !errors.Is(err, errEnded) {
		h.forget(p, proc, d)
		return nil, err
	}
	h.mu.Lock()
	p.documents[path] = d
	h.mu.Unlock()
	return proc, nil
}

// sync opens d in proc, or tells it the text if that changed on disk. The caller has p's turn.
func (h *Handler) sync(p *project, proc *process, d *document) error {
	if d.in == proc {
		st, err := os.Stat(d.path)
		if err != nil {
			return fault(err, d.path)
		}
		if st.ModTime().Equal(d.mtime) && st.Size() == d.size {
			return nil
		}
	}
	text, st, err := readDocument(d.path)
	if err != nil {
		return err
	}
	d.mtime, d.size = st.ModTime(), st.Size()
	d.version++
	if d.in == proc {
		return proc.notify("textDocument/didChange", map[string]any{
			"textDocument":   map[string]any{"uri": uriOf(d.path), "version": d.version},
			"contentChanges": []any{map[string]any{"text": text}}})
	}
	d.in = proc
	return proc.notify("textDocument/didOpen", map[string]any{"textDocument": map[string]any{
		"uri": uriOf(d.path), "languageId": proc.language.documentLanguage(p.language, d.path), "version": d.version, "text": text}})
}

// forget closes d. The caller has p's turn.
func (h *Handler) forget(p *project, proc *process, d *document) {
	if d.in == proc && proc != nil {
		_ = proc.notify("textDocument/didClose", map[string]any{"textDocument": map[string]any{"uri": uriOf(d.path)}})
	}
	h.mu.Lock()
	delete(p.documents, d.path)
	h.mu.Unlock()
}

// running returns the server of p and starts it if it does not run. The caller has p's turn.
func (h *Handler) running(ctx context.Context, p *project) (*process, error) {
	h.mu.Lock()
	switch {
	case h.frozen || h.closing:
		h.mu.Unlock()
		return nil, replacing()
	case p.stopped:
		h.mu.Unlock()
		return nil, notInitialized(p.key)
	case p.proc != nil && p.proc.alive():
		defer h.mu.Unlock()
		return p.proc, nil
	}
	p.proc = nil
	evicted, ok := h.room(p)
	if !ok {
		h.mu.Unlock()
		return nil, errs.New(errs.Busy, "%d language servers are at work, the most at one time; try again", maxLive)
	}
	p.starting = true
	h.mu.Unlock()
	if evicted != nil {
		evicted.stop()
	}
	proc, err := h.launch(ctx, p)
	h.mu.Lock()
	defer h.mu.Unlock()
	p.starting = false
	if err != nil {
		return nil, err
	}
	if p.stopped || h.frozen || h.closing { // meanwhile
		proc.end(errEnded)
		if p.stopped {
			return nil, notInitialized(p.key)
		}
		return nil, replacing()
	}
	p.proc = proc
	return proc, nil
}

// room makes room for one more server: it takes the one that was unused for longest from its project. The caller holds mu.
func (h *Handler) room(p *project) (*process, bool) {
	var oldest *project
	n := 0
	for _, o := range h.projects {
		if o == p || !o.starting && (o.proc == nil || !o.proc.alive()) {
			continue
		}
		n++
		if o.busy == 0 && o.proc != nil && (oldest == nil || o.used.Before(oldest.used)) {
			oldest = o
		}
	}
	if n < maxLive {
		return nil, true
	}
	if oldest == nil {
		return nil, false
	}
	return oldest.take(), true
}

// launch starts a server and shakes hands with it.
func (h *Handler) launch(ctx context.Context, p *project) (*process, error) {
	l, err := find(p.language, h.config())
	if err != nil {
		return nil, err
	}
	proc, err := h.spawn(l, p.path)
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	if h.closing || h.frozen {
		h.mu.Unlock()
		proc.kill()
		return nil, replacing()
	}
	h.live[proc] = struct{}{}
	h.watching.Go(func() {
		<-proc.gone
		h.mu.Lock()
		delete(h.live, proc)
		h.mu.Unlock()
	})
	h.mu.Unlock()
	// A client that leaves does not waste the start: the next one will want it.
	if err := proc.initialize(context.WithoutCancel(ctx), p.path); err != nil {
		proc.kill()
		return nil, err
	}
	return proc, nil
}

func (h *Handler) config() string {
	if h.Config != "" {
		return h.Config
	}
	return ConfigPath
}
