// Package fake is an engine without sandboxes: it keeps the promises of engine.Engine towards its caller (records on disk,
// classes of errors, exits, one verb at a time per sandbox) and runs nothing. The daemon of a "running" sandbox is an
// http.Handler of the test. It passes the same conformance suite as the real engine.
package fake

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dugout-dev/dugout/internal/engine"
	"github.com/dugout-dev/dugout/internal/errs"
)

// Config of a fake engine.
type Config struct {
	Dir string // where records lie; one engine at a time
	// Daemon answers for the daemon of a sandbox; nil: GET /version and nothing else.
	Daemon func(spec engine.Spec) http.Handler
	// Before is called by every verb that takes a context, before its effect, while the verb has the sandbox for itself. It
	// can wait (until ctx ends) or fail the verb. The verbs are create, start, stop, destroy, limits, usage and dial.
	Before func(ctx context.Context, verb, id string) error
	// DiskLimit is what Capabilities and Status say of disk limits; the fake enforces none of either kind.
	DiskLimit bool
}

var defaults = engine.Limits{MilliCPU: 1000, MemoryBytes: 1 << 30, DiskBytes: 3 << 30, Pids: 1024, OpenFiles: 65536}

// Engine implements engine.Engine.
type Engine struct {
	cfg   Config
	exits chan engine.Exit
	done  chan struct{} // closed by Close
	work  sync.WaitGroup

	mu     sync.Mutex // guards the rest
	closed bool
	boxes  map[string]*box
}

var _ engine.Engine = (*Engine)(nil)

type box struct {
	lock   chan struct{} // held, by a send, by the verb at work
	gone   bool          // guarded by Engine.mu
	made   bool          // guarded by Engine.mu
	rec    record        // guarded by Engine.mu
	daemon *daemon       // guarded by Engine.mu; made at the first Dial
}

// record is what lies on disk for one sandbox.
type record struct {
	Digest string
	Status engine.Status
}

// Open returns the engine over the records in cfg.Dir.
func Open(cfg Config) (*Engine, error) {
	if !filepath.IsAbs(cfg.Dir) {
		return nil, errs.New(errs.Invalid, "dir is %q, it must be an absolute path", cfg.Dir)
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, errs.Wrap(err, errs.Unavailable, "cannot make the state directory %s", cfg.Dir)
	}
	e := &Engine{cfg: cfg, exits: make(chan engine.Exit, 1024), done: make(chan struct{}), boxes: map[string]*box{}}
	found, err := filepath.Glob(filepath.Join(cfg.Dir, "*.json"))
	if err != nil {
		return nil, errs.Wrap(err, errs.Unavailable, "cannot read the records in %s", cfg.Dir)
	}
	for _, path := range found {
		rec, err := read(path)
		if err != nil {
			return nil, errs.Wrap(err, errs.Internal, "the record %s cannot be read", path)
		}
		e.boxes[rec.Status.Spec.ID] = &box{lock: make(chan struct{}, 1), made: true, rec: rec}
	}
	return e, nil
}

// End makes the first process of a running sandbox end by itself, for reason (see engine.ReasonOOM and its neighbours).
func (e *Engine) End(id, reason string, exitCode int) error {
	return e.verb(context.Background(), "", id, false, func(b *box) error {
		rec := e.get(b)
		if rec.Status.State != engine.Running {
			return notRunning(id)
		}
		rec = ended(rec, reason, exitCode)
		if err := e.put(b, rec); err != nil {
			return err
		}
		e.hangUp(b)
		e.work.Go(func() {
			select {
			case e.exits <- engine.Exit{ID: id, Status: rec.Status}:
			case <-e.done:
			}
		})
		return nil
	})
}

// EndRecord does what End does while no engine is open over dir: the next one finds the sandbox stopped.
func EndRecord(dir, id, reason string, exitCode int) error {
	path := filepath.Join(dir, id+".json")
	rec, err := read(path)
	if err != nil {
		return err
	}
	return write(path, ended(rec, reason, exitCode))
}

func ended(rec record, reason string, exitCode int) record {
	rec.Status.State, rec.Status.Reason, rec.Status.ExitCode, rec.Status.Pid = engine.Stopped, reason, exitCode, 0
	rec.Status.StoppedAt = time.Now().UTC()
	if reason == engine.ReasonOOM {
		rec.Status.OOMKills++
	}
	return rec
}

// verb runs fn while it alone works on the sandbox id.
func (e *Engine) verb(ctx context.Context, name, id string, create bool, fn func(b *box) error) error {
	for {
		if ctx.Err() != nil {
			return errs.Wrap(ctx.Err(), errs.Timeout, "the request ended before its work began")
		}
		e.mu.Lock()
		b := e.boxes[id]
		if e.closed {
			e.mu.Unlock()
			return errs.New(errs.Unavailable, "the engine is closed")
		}
		if b == nil && create {
			b = &box{lock: make(chan struct{}, 1)}
			e.boxes[id] = b
		}
		e.mu.Unlock()
		if b == nil {
			return notFound(id)
		}
		select {
		case b.lock <- struct{}{}:
		case <-ctx.Done():
			return errs.Wrap(ctx.Err(), errs.Timeout, "the sandbox is busy with another request")
		}
		e.mu.Lock()
		gone := b.gone
		e.mu.Unlock()
		if gone {
			<-b.lock
			continue
		}
		defer func() { <-b.lock }()
		err := e.before(ctx, name, id)
		if err == nil {
			err = fn(b)
		}
		e.mu.Lock()
		if err != nil && !b.made { // a create that failed
			b.gone = true
			delete(e.boxes, id)
		}
		e.mu.Unlock()
		return err
	}
}

func (e *Engine) before(ctx context.Context, verb, id string) error {
	if e.cfg.Before == nil || verb == "" {
		return nil
	}
	err := e.cfg.Before(ctx, verb, id)
	if err == nil && ctx.Err() != nil {
		err = errs.Wrap(ctx.Err(), errs.Timeout, "the request ended before its work was done")
	}
	return err
}

// Create implements engine.Engine.
func (e *Engine) Create(ctx context.Context, spec engine.Spec) error {
	spec = spec.Clone()
	if err := spec.Check(); err != nil {
		return err
	}
	return e.verb(ctx, "create", spec.ID, true, func(b *box) error {
		digest := digest(spec)
		e.mu.Lock()
		made, rec := b.made, b.rec
		e.mu.Unlock()
		if made {
			if rec.Digest != digest && digestOf(rec) != digest {
				return errs.New(errs.Conflict, "sandbox %s exists with another specification", spec.ID)
			}
			return nil
		}
		spec.Limits = spec.Limits.Or(defaults)
		return e.put(b, record{Digest: digest, Status: engine.Status{Spec: spec, State: engine.Stopped, ExitCode: -1, DiskLimit: e.cfg.DiskLimit}})
	})
}

// Start implements engine.Engine.
func (e *Engine) Start(ctx context.Context, id string, network engine.Net) (engine.Status, error) {
	var status engine.Status
	err := e.verb(ctx, "start", id, false, func(b *box) error {
		rec := e.get(b)
		if rec.Status.State != engine.Running {
			old := rec.Status
			rec.Status = engine.Status{
				Spec: old.Spec, State: engine.Running, Pid: int(time.Now().UnixNano()%1e9) + 1, StartedAt: time.Now().UTC(), ExitCode: -1,
				Net: network, DiskLimit: old.DiskLimit,
			}
			if err := e.put(b, rec); err != nil {
				return err
			}
		}
		status = rec.Status
		return nil
	})
	status.Spec = status.Spec.Clone()
	return status, err
}

// Stop implements engine.Engine.
func (e *Engine) Stop(ctx context.Context, id string, _ time.Duration) error {
	return e.verb(ctx, "stop", id, false, func(b *box) error {
		rec := e.get(b)
		if rec.Status.State != engine.Running {
			return nil
		}
		if err := e.put(b, ended(rec, engine.ReasonStopped, -1)); err != nil {
			return err
		}
		e.hangUp(b)
		return nil
	})
}

// Destroy implements engine.Engine.
func (e *Engine) Destroy(ctx context.Context, id string) error {
	err := e.verb(ctx, "destroy", id, false, func(b *box) error {
		if err := os.Remove(e.path(id)); err != nil && !os.IsNotExist(err) {
			return errs.Wrap(err, errs.Internal, "cannot remove the record of the sandbox")
		}
		e.hangUp(b)
		e.mu.Lock()
		defer e.mu.Unlock()
		b.gone, b.made = true, false
		delete(e.boxes, id)
		return nil
	})
	if errs.Is(err, errs.NotFound) {
		return nil
	}
	return err
}

// SetLimits implements engine.Engine.
func (e *Engine) SetLimits(ctx context.Context, id string, limits engine.Limits) error {
	if err := limits.Check(); err != nil {
		return err
	}
	return e.verb(ctx, "limits", id, false, func(b *box) error {
		rec := e.get(b)
		rec.Status.Spec.Limits = limits.Or(rec.Status.Spec.Limits)
		return e.put(b, rec)
	})
}

// Inspect implements engine.Engine.
func (e *Engine) Inspect(_ context.Context, id string) (engine.Status, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	b := e.boxes[id]
	if b == nil || !b.made {
		return engine.Status{}, notFound(id)
	}
	status := b.rec.Status
	status.Spec = status.Spec.Clone()
	return status, nil
}

// List implements engine.Engine.
func (e *Engine) List(context.Context) ([]engine.Status, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	list := make([]engine.Status, 0, len(e.boxes))
	for _, b := range e.boxes {
		if b.made {
			status := b.rec.Status
			status.Spec = status.Spec.Clone()
			list = append(list, status)
		}
	}
	return list, nil
}

// Usage implements engine.Engine: a fixed small amount.
func (e *Engine) Usage(ctx context.Context, id string) (engine.Usage, error) {
	status, err := e.Inspect(ctx, id)
	if err != nil {
		return engine.Usage{}, err
	}
	if status.State != engine.Running {
		return engine.Usage{}, notRunning(id)
	}
	if err := e.before(ctx, "usage", id); err != nil {
		return engine.Usage{}, err
	}
	return engine.Usage{CPU: 10 * time.Millisecond, MemoryBytes: 4 << 20, DiskBytes: 1 << 20, Pids: 1}, nil
}

// Dial implements engine.Engine.
func (e *Engine) Dial(ctx context.Context, id string) (net.Conn, error) {
	if _, err := e.Inspect(ctx, id); err != nil {
		return nil, err
	}
	if err := e.before(ctx, "dial", id); err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	b := e.boxes[id]
	if b == nil || e.closed || b.rec.Status.State != engine.Running {
		return nil, notRunning(id)
	}
	if b.daemon == nil {
		b.daemon = newDaemon(e.handler(b.rec.Status.Spec))
	}
	return b.daemon.dial()
}

func (e *Engine) handler(spec engine.Spec) http.Handler {
	if e.cfg.Daemon != nil {
		return e.cfg.Daemon(spec.Clone())
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /version", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"version":"fake"}`)) })
	return mux
}

// Exits implements engine.Engine.
func (e *Engine) Exits() <-chan engine.Exit { return e.exits }

// Capabilities implements engine.Engine.
func (e *Engine) Capabilities() engine.Capabilities {
	c := engine.Capabilities{Name: "fake", Version: "1", Classes: []string{engine.ClassContainer}, Network: true}
	if e.cfg.DiskLimit {
		c.DiskLimit = "fake"
	} else {
		c.Problems = []string{"disk limits are not enforced: this is the fake engine"}
	}
	return c
}

// Close implements engine.Engine. Running sandboxes are running for the next engine over the same directory.
func (e *Engine) Close() error {
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return nil
	}
	e.closed = true
	close(e.done)
	boxes := e.boxes
	e.mu.Unlock()
	for _, b := range boxes {
		e.hangUp(b)
	}
	e.work.Wait()
	return nil
}

func (e *Engine) hangUp(b *box) {
	e.mu.Lock()
	d := b.daemon
	b.daemon = nil
	e.mu.Unlock()
	if d != nil {
		d.close()
	}
}

func (e *Engine) get(b *box) record {
	e.mu.Lock()
	defer e.mu.Unlock()
	return b.rec
}

// put writes a record to disk, then makes it known.
func (e *Engine) put(b *box, rec record) error {
	if err := write(e.path(rec.Status.Spec.ID), rec); err != nil {
		return errs.Wrap(err, errs.Internal, "cannot write the record of the sandbox")
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	b.rec, b.made = rec, true
	return nil
}

func (e *Engine) path(id string) string {
	return filepath.Join(e.cfg.Dir, strings.ReplaceAll(id, "/", "_")+".json")
}

func digest(spec engine.Spec) string {
	b, _ := json.Marshal(spec)
	return fmt.Sprintf("%x", sha256.Sum256(b))
}

func digestOf(rec record) string { return digest(rec.Status.Spec) }

func read(path string) (record, error) {
	var rec record
	b, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(b, &rec)
	}
	return rec, err
}

func write(path string, rec record) error {
	b, err := json.Marshal(rec)
	if err == nil {
		err = os.WriteFile(path+".new", b, 0o600)
	}
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	return err
}

func notFound(id string) error {
	return errs.New(errs.NotFound, "sandbox %.80s is not on this host", id)
}

func notRunning(id string) error {
	return errs.New(errs.WrongState, "sandbox %.80s is not running", id)
}

// daemon serves a handler to connections that are pairs of unix sockets, so that deadlines and half-closes work as with
// the real one.
type daemon struct {
	server *http.Server
	conns  chan net.Conn
	done   chan struct{}
	once   sync.Once
}

func newDaemon(handler http.Handler) *daemon {
	d := &daemon{server: &http.Server{Handler: handler}, conns: make(chan net.Conn, 128), done: make(chan struct{})}
	go func() { _ = d.server.Serve(d) }()
	return d
}

func (d *daemon) dial() (net.Conn, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, errs.Wrap(err, errs.Exhausted, "no file descriptors left")
	}
	var ends [2]net.Conn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "daemon")
		ends[i], err = net.FileConn(f)
		f.Close()
		if err != nil {
			return nil, errs.Wrap(err, errs.Internal, "cannot connect to the daemon")
		}
	}
	select {
	case d.conns <- ends[1]:
		return ends[0], nil
	default:
		ends[0].Close()
		ends[1].Close()
		return nil, errs.New(errs.Unavailable, "the daemon does not answer")
	}
}

func (d *daemon) close() {
	d.once.Do(func() { close(d.done) })
	_ = d.server.Close()
}

// Accept, Close and Addr make the daemon the listener of its server.
func (d *daemon) Accept() (net.Conn, error) {
	select {
	case conn := <-d.conns:
		return conn, nil
	case <-d.done:
		return nil, net.ErrClosed
	}
}

func (d *daemon) Close() error {
	d.once.Do(func() { close(d.done) })
	return nil
}

func (d *daemon) Addr() net.Addr { return &net.UnixAddr{Name: "daemon", Net: "unix"} }
