// Package relay is the one reverse proxy of the platform: HTTP/1.1 with streamed bodies both ways, WebSocket upgrades,
// immediate flushing and one place where headers are cleaned. The proxy uses it towards runners, a runner towards the
// daemons of its sandboxes. It takes no decision: who may call, and where a request goes, is settled before.
package relay

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
	"sync/atomic"
	"time"
)

// bufferSize is what one copy step moves, in bytes: large, because a body crosses several processes on two cores.
const bufferSize = 256 << 10

// Target is where one request goes.
type Target struct {
	// Peer names the connection pool: requests share a connection only within one peer. It is passed to Dial.
	Peer string
	// Path and RawPath replace those of the request (RawPath as in url.URL).
	Path, RawPath string
	// Header adjusts the outgoing header last; nil: nothing.
	Header func(http.Header)
	// Fail answers when the peer cannot be reached or breaks off before its answer begins.
	Fail func(http.ResponseWriter, *http.Request, error)
	// Response may look at the answer before it is passed on; nil: nothing.
	Response func(*http.Response)
}

// Relay forwards requests. It is safe for concurrent use.
type Relay struct {
	transport *http.Transport
	proxy     *httputil.ReverseProxy

	holding atomic.Int32 // peers in held: 0 nearly always, and then nobody takes the lock
	mu      sync.Mutex   // guards held
	held    map[string]chan struct{}
}

type targetKey struct{}

// New returns a relay that reaches peers through dial.
func New(dial func(ctx context.Context, peer string) (net.Conn, error)) *Relay {
	r := &Relay{transport: &http.Transport{
		DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
			host, _, err := net.SplitHostPort(addr)
			if err != nil {
				return nil, err
			}
			peer, err := url.QueryUnescape(host)
			if err != nil {
				return nil, err
			}
			return dial(ctx, peer)
		},
		MaxIdleConns:          2048,
		MaxIdleConnsPerHost:   16,
		IdleConnTimeout:       30 * time.Second,
		ResponseHeaderTimeout: 0, // a command may run for hours before it answers
		DisableCompression:    true,
		WriteBufferSize:       64 << 10,
		ReadBufferSize:        16 << 10,
		Protocols:             http1(),
	}}
	r.proxy = &httputil.ReverseProxy{
		Rewrite: func(pr *httputil.ProxyRequest) {
			t := pr.In.Context().Value(targetKey{}).(*Target)
			pr.Out.URL.Scheme, pr.Out.URL.Host = "http", url.QueryEscape(t.Peer)
			pr.Out.URL.Path, pr.Out.URL.RawPath = t.Path, t.RawPath
			pr.Out.URL.RawQuery = pr.In.URL.RawQuery // as it came: it is not ours to judge
			pr.Out.Host = pr.In.Host
			// One hop's credentials and routing never reach the next unless the target says so.
			for _, h := range []string{"Authorization", "X-Daytona-Authorization", "X-Daytona-Preview-Token"} {
				pr.Out.Header.Del(h)
			}
			if _, ok := pr.Out.Header["User-Agent"]; !ok {
				pr.Out.Header.Set("User-Agent", "") // else the transport adds its own
			}
			if t.Header != nil {
				t.Header(pr.Out.Header)
			}
		},
		ModifyResponse: func(res *http.Response) error {
			if t := res.Request.Context().Value(targetKey{}).(*Target); t.Response != nil {
				t.Response(res)
			}
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, req *http.Request, err error) {
			if errors.Is(err, context.Canceled) && req.Context().Err() != nil {
				panic(http.ErrAbortHandler) // the caller left; nobody reads an answer
			}
			req.Context().Value(targetKey{}).(*Target).Fail(w, req, err)
		},
		Transport:     r.transport,
		FlushInterval: -1,
		BufferPool:    &buffers{},
	}
	return r
}

func http1() *http.Protocols {
	var p http.Protocols
	p.SetHTTP1(true)
	return &p
}

// Serve forwards r to t and streams the answer back.
func (r *Relay) Serve(w http.ResponseWriter, req *http.Request, t *Target) {
	// A command's answer may come while its upload is still under way, and a WebSocket has no end: no server timeouts here.
	if r.holding.Load() > 0 && !r.wait(req.Context(), t.Peer) {
		panic(http.ErrAbortHandler) // the caller left; nobody reads an answer
	}
	rc := http.NewResponseController(w)
	_ = rc.SetReadDeadline(time.Time{})
	_ = rc.SetWriteDeadline(time.Time{})
	_ = rc.EnableFullDuplex()
	r.proxy.ServeHTTP(w, req.WithContext(context.WithValue(req.Context(), targetKey{}, t)))
}

// Forget closes idle connections: after a peer was replaced.
func (r *Relay) Forget() { r.transport.CloseIdleConnections() }

// Hold makes new requests to peer wait until release is called, and closes idle connections: while the peer is replaced, no
// request can meet a connection that is just being closed. Requests under way go on. One caller at a time may hold a peer.
func (r *Relay) Hold(peer string) (release func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.held == nil {
		r.held = map[string]chan struct{}{}
	}
	c := make(chan struct{})
	r.held[peer] = c
	r.holding.Add(1)
	r.Forget()
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.held, peer)
		r.holding.Add(-1)
		close(c)
	}
}

// wait returns when nobody holds peer any more; false: ctx ended before.
func (r *Relay) wait(ctx context.Context, peer string) bool {
	for {
		r.mu.Lock()
		c := r.held[peer]
		r.mu.Unlock()
		if c == nil {
			return true
		}
		select {
		case <-c:
		case <-ctx.Done():
			return false
		}
	}
}

type buffers struct{ pool sync.Pool }

func (b *buffers) Get() []byte {
	if p, ok := b.pool.Get().(*[]byte); ok {
		return *p
	}
	return make([]byte, bufferSize)
}

func (b *buffers) Put(p []byte) { b.pool.Put(&p) }
