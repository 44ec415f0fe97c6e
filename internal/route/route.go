// Package route answers the two questions of the data path: may this credential use this sandbox, and on which runner is it.
// Answers are cached and forgotten when something changes, so that a command costs no database query, and running sandboxes
// stay usable while the control plane is away.
package route

import (
	"context"
	"crypto/subtle"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dugout-dev/dugout/internal/errs"
	"github.com/dugout-dev/dugout/internal/id"
)

// Sandbox is what the data path needs to know of one.
type Sandbox struct {
	ID             string
	OrganizationID string
	State          string // as the wire shows it
	Running        bool
	Token          string // opens it without a credential of its organization
	RunnerID       string
	RunnerAddress  string
	RunnerKey      string
}

// Source is the control plane, as the data path sees it.
type Source interface {
	// Sandbox finds a sandbox by id, whoever owns it; NotFound when there is none.
	Sandbox(ctx context.Context, id string) (Sandbox, error)
	// Organization returns the organization that a credential acts for; Unauthenticated when it is not valid.
	Organization(ctx context.Context, credential string) (string, error)
	// SigningKey returns what the file URLs of a sandbox are signed with; "" or NotFound when it has none.
	SigningKey(ctx context.Context, id string) (string, error)
	// Touch notes activity. It must not block for long; it may lose a mark.
	Touch(ctx context.Context, id string)
}

// How long an answer is trusted. Changes that this process hears of take effect at once; these bound the others.
const (
	credentialFor = 5 * time.Second
	sandboxFor    = 30 * time.Second
	staleFor      = 10 * time.Minute // while the control plane does not answer
	touchEvery    = 10 * time.Second // per sandbox
	maxCached     = 100_000          // entries of each kind; beyond it everything is forgotten
)

// Table caches a source. It is safe for concurrent use.
type Table struct {
	source Source
	now    func() time.Time

	mu          sync.RWMutex // guards the rest
	changes     uint64       // counts what was forgotten: an answer that was asked for before a change is not kept
	sandboxes   map[string]*entry
	credentials map[string]credential
	keys        map[string]signingKey // by sandbox
}

type entry struct {
	sandbox Sandbox
	at      time.Time
	touched atomic.Int64 // unix seconds
}

type credential struct {
	organization string
	at           time.Time
}

// New returns an empty table over source.
func New(source Source) *Table {
	return &Table{source: source, now: time.Now, sandboxes: map[string]*entry{}, credentials: map[string]credential{}, keys: map[string]signingKey{}}
}

// Access returns the sandbox if one of the given secrets opens it: a credential of its organization, or its own token.
// A wrong or missing secret is Unauthenticated; a valid credential of another organization learns no more than that the
// sandbox does not exist; a sandbox that is not running is WrongState.
func (t *Table) Access(ctx context.Context, sandboxID, bearer, token string) (Sandbox, error) {
	if !id.IsUUID(sandboxID) {
		if _, err := t.organization(ctx, bearer); err != nil {
			return Sandbox{}, err
		}
		return Sandbox{}, unknown(sandboxID)
	}
	if token != "" {
		if s, err := t.sandbox(ctx, sandboxID); err == nil && s.Token != "" && subtle.ConstantTimeCompare([]byte(s.Token), []byte(token)) == 1 {
			return s, running(s)
		} else if err != nil && !errs.Is(err, errs.NotFound) {
			return Sandbox{}, err
		}
		if bearer == "" {
			return Sandbox{}, refused()
		}
	}
	organization, err := t.organization(ctx, bearer)
	if err != nil {
		return Sandbox{}, err
	}
	s, err := t.sandbox(ctx, sandboxID)
	if err != nil {
		return Sandbox{}, err
	}
	if s.OrganizationID != organization {
		return Sandbox{}, unknown(sandboxID)
	}
	return s, running(s)
}

func unknown(sandboxID string) error {
	if len(sandboxID) > 64 {
		sandboxID = sandboxID[:64] + "…"
	}
	return errs.New(errs.NotFound, "sandbox %s not found", sandboxID).WithCode("SANDBOX_NOT_FOUND")
}

func refused() error { return errs.New(errs.Unauthenticated, "invalid or missing credential") }

func running(s Sandbox) error {
	if s.Running {
		return nil
	}
	return errs.New(errs.WrongState, "sandbox %s is not running (state %s): no IP address found; is the sandbox started?", s.ID, s.State).WithCode("SANDBOX_NOT_RUNNING")
}

func (t *Table) organization(ctx context.Context, bearer string) (string, error) {
	if bearer == "" || len(bearer) > 4096 {
		return "", refused()
	}
	key := id.HashKey(bearer) // the cache holds no secret
	t.mu.RLock()
	c, ok := t.credentials[key]
	changes := t.changes
	t.mu.RUnlock()
	if ok && t.now().Sub(c.at) < credentialFor {
		return c.organization, nil
	}
	organization, err := t.source.Organization(ctx, bearer)
	if err != nil {
		if away(err) && ok && t.now().Sub(c.at) < staleFor {
			return c.organization, nil
		}
		t.mu.Lock()
		delete(t.credentials, key)
		t.mu.Unlock()
		return "", err
	}
	t.mu.Lock()
	if len(t.credentials) >= maxCached {
		clear(t.credentials)
	}
	if t.changes == changes {
		t.credentials[key] = credential{organization, t.now()}
	}
	t.mu.Unlock()
	return organization, nil
}

func (t *Table) sandbox(ctx context.Context, sandboxID string) (Sandbox, error) {
	t.mu.RLock()
	e := t.sandboxes[sandboxID]
	changes := t.changes
	t.mu.RUnlock()
	if e != nil && t.now().Sub(e.at) < sandboxFor {
		return e.sandbox, nil
	}
	s, err := t.source.Sandbox(ctx, sandboxID)
	if err != nil {
		if away(err) && e != nil && t.now().Sub(e.at) < staleFor {
			return e.sandbox, nil
		}
		return Sandbox{}, err
	}
	if !s.Running { // nothing to save: it cannot be used anyway, and may be started at any moment
		t.Forget(sandboxID)
		return s, nil
	}
	fresh := &entry{sandbox: s, at: t.now()}
	if e != nil {
		fresh.touched.Store(e.touched.Load())
	}
	t.mu.Lock()
	if len(t.sandboxes) >= maxCached {
		clear(t.sandboxes)
	}
	if t.changes == changes {
		t.sandboxes[sandboxID] = fresh
	}
	t.mu.Unlock()
	return s, nil
}

// away reports an error that says nothing about the question itself.
func away(err error) bool {
	switch errs.ClassOf(err) {
	case errs.Unavailable, errs.Timeout, errs.Internal:
		return true
	}
	return false
}

// Forget drops what is known of a sandbox: it changed.
func (t *Table) Forget(sandboxID string) {
	t.mu.Lock()
	t.changes++
	delete(t.sandboxes, sandboxID)
	delete(t.keys, sandboxID)
	t.mu.Unlock()
}

// ForgetSandboxes drops what is known of all sandboxes: some changed, and nobody knows which.
func (t *Table) ForgetSandboxes() {
	t.mu.Lock()
	t.changes++
	clear(t.sandboxes)
	clear(t.keys)
	t.mu.Unlock()
}

// ForgetCredentials drops every cached credential: a key was revoked or changed.
func (t *Table) ForgetCredentials() {
	t.mu.Lock()
	t.changes++
	clear(t.credentials)
	t.mu.Unlock()
}

// Touch passes an activity mark on, at most one in ten seconds per sandbox that is cached. The caller got access to it before.
func (t *Table) Touch(ctx context.Context, sandboxID string) {
	t.mu.RLock()
	e := t.sandboxes[sandboxID]
	t.mu.RUnlock()
	if e != nil {
		now := t.now().Unix()
		last := e.touched.Load()
		if now-last < int64(touchEvery/time.Second) || !e.touched.CompareAndSwap(last, now) {
			return
		}
	} // else it was forgotten while a long request is under way, which still counts
	t.source.Touch(ctx, sandboxID)
}
