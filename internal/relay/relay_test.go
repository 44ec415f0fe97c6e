package relay_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dugout-dev/dugout/internal/relay"
)

func front(t *testing.T, r *relay.Relay, target func(*http.Request) *relay.Target) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) { r.Serve(w, req, target(req)) }))
	t.Cleanup(s.Close)
	return s.URL
}

func get(t *testing.T, url string, header ...string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

// Peers are names of the caller's: addresses of sockets, ids, anything. Connections are kept per peer and never shared.
func TestPeers(t *testing.T) {
	names := map[string]string{"unix:///run/a.sock": "a", "http://[::1]:80/x?y": "b", "10.0.0.1:80": "c", "with space%2F": "d"}
	addresses, dials := map[string]string{}, map[string]*atomic.Int64{}
	for peer, name := range names {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, name) }))
		t.Cleanup(s.Close)
		addresses[peer], dials[peer] = s.Listener.Addr().String(), &atomic.Int64{}
	}
	r := relay.New(func(ctx context.Context, peer string) (net.Conn, error) {
		address, ok := addresses[peer]
		if !ok {
			return nil, errors.New("asked for the peer " + peer)
		}
		dials[peer].Add(1)
		return (&net.Dialer{}).DialContext(ctx, "tcp", address)
	})
	defer r.Forget()
	url := front(t, r, func(req *http.Request) *relay.Target {
		return &relay.Target{Peer: req.Header.Get("Peer"), Path: "/", Fail: func(w http.ResponseWriter, _ *http.Request, err error) { http.Error(w, err.Error(), 599) }}
	})
	for range 3 {
		for peer, name := range names {
			if status, body := get(t, url, "Peer", peer); status != 200 || body != name {
				t.Errorf("%s: %d %s", peer, status, body)
			}
		}
	}
	for peer, n := range dials {
		if n.Load() != 1 {
			t.Errorf("%s: %d connections for three requests in a row", peer, n.Load())
		}
	}
}

func TestFail(t *testing.T) {
	away := errors.New("away")
	r := relay.New(func(context.Context, string) (net.Conn, error) { return nil, away })
	url := front(t, r, func(*http.Request) *relay.Target {
		return &relay.Target{Peer: "x", Path: "/", Fail: func(w http.ResponseWriter, _ *http.Request, err error) {
			if !errors.Is(err, away) {
				t.Errorf("got %v", err)
			}
			w.WriteHeader(http.StatusBadGateway)
		}}
	})
	if status, _ := get(t, url); status != http.StatusBadGateway {
		t.Errorf("%d", status)
	}
}

func TestHeaders(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) { _ = req.Header.Write(w) }))
	defer s.Close()
	r := relay.New(func(ctx context.Context, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", s.Listener.Addr().String())
	})
	defer r.Forget()
	url := front(t, r, func(*http.Request) *relay.Target {
		return &relay.Target{Peer: "x", Path: "/", Header: func(h http.Header) { h.Set("Added", "1") }}
	})
	_, got := get(t, url, "Authorization", "Bearer canary", "X-Daytona-Preview-Token", "canary", "X-Daytona-Authorization", "canary", "User-Agent", "me", "Kept", "1")
	if strings.Contains(got, "canary") || !strings.Contains(got, "User-Agent: me\r\n") || !strings.Contains(got, "Kept: 1\r\n") || !strings.Contains(got, "Added: 1\r\n") {
		t.Errorf("arrived:\n%s", got)
	}
}

// Requests that are left in the middle leave nothing behind.
func TestLeavesNoGoroutines(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		_, _ = io.Copy(io.Discard, req.Body) // a server notices that its caller left when it has read the body
		<-req.Context().Done()
	}))
	defer s.Close()
	r := relay.New(func(ctx context.Context, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", s.Listener.Addr().String())
	})
	url := front(t, r, func(*http.Request) *relay.Target {
		return &relay.Target{Peer: "x", Path: "/", Fail: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(502) }}
	})
	before := runtime.NumGoroutine()
	for range 20 {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
		req, _ := http.NewRequestWithContext(ctx, "POST", url, strings.NewReader("x"))
		if res, err := http.DefaultClient.Do(req); err == nil {
			_ = res.Body.Close()
		}
		cancel()
	}
	for deadline := time.Now().Add(10 * time.Second); runtime.NumGoroutine() > before+4; time.Sleep(5 * time.Millisecond) {
		http.DefaultClient.CloseIdleConnections()
		r.Forget()
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines, %d before", runtime.NumGoroutine(), before)
		}
	}
}

// Requests to a peer that is held wait; others and those under way do not.
func TestHold(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "here") }))
	t.Cleanup(s.Close)
	r := relay.New(func(ctx context.Context, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", s.Listener.Addr().String())
	})
	url := front(t, r, func(req *http.Request) *relay.Target {
		return &relay.Target{Peer: req.URL.Query().Get("peer"), Path: "/"}
	})
	release := r.Hold("a")
	got := make(chan string, 1)
	go func() {
		_, body := get(t, url+"?peer=a")
		got <- body
	}()
	if _, body := get(t, url+"?peer=b"); body != "here" {
		t.Errorf("another peer: %q", body)
	}
	select {
	case body := <-got:
		t.Errorf("a held peer answered %q", body)
	case <-time.After(50 * time.Millisecond):
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	req, _ := http.NewRequestWithContext(ctx, "GET", url+"?peer=a", nil)
	if res, err := http.DefaultClient.Do(req); err == nil {
		_ = res.Body.Close()
		t.Error("a request whose client left was answered")
	}
	release()
	if body := <-got; body != "here" {
		t.Errorf("after the release: %q", body)
	}
	r.Hold("a")()
	if _, body := get(t, url+"?peer=a"); body != "here" {
		t.Errorf("held again and released: %q", body)
	}
}
