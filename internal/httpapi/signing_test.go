package httpapi_test

import (
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/dugout-dev/dugout/internal/org"
	"time"
)

func TestSigningKey(t *testing.T) {
	w := newWorld(t)
	s, other := w.create(`{"name":"box"}`), w.create("")
	path := "/sandbox/" + s.ID + "/signing-key"
	first := w.get(path).want(200)
	key := string(first.body)
	// Bare text that no client mistakes for JSON.
	if !strings.HasPrefix(first.header.Get("Content-Type"), "text/plain") || !strings.HasPrefix(key, "dgs_") || len(key) < 40 || strings.Trim(key, "_abcdefghijklmnopqrstuvwxyz0123456789") != "" {
		t.Fatalf("%s: %q", first.header.Get("Content-Type"), key)
	}
	w.post("/sandbox/box/stop", "").want(200)
	w.post("/sandbox/box/start", "").want(200)
	for _, at := range []string{path, "/sandbox/box/signing-key", "/preview/" + s.ID + "/signing-key"} {
		if got := string(w.get(at).want(200).body); got != key {
			t.Errorf("%s: another key", at)
		}
	}
	if got := string(w.get("/sandbox/" + other.ID + "/signing-key").want(200).body); got == key {
		t.Error("two sandboxes share a key")
	}
	rotated := string(w.post(path+"/rotate", "").want(200).body)
	if rotated == key || string(w.get(path).want(200).body) != rotated {
		t.Errorf("not rotated")
	}
	w.addKey(org.NewKey(w.orgID, "dugout-admin", "reader", "dtn_reader_0123456789", nil, time.Now()))
	w.get(path, as("dtn_reader_0123456789")).want(200)
	w.get("/preview/"+s.ID+"/signing-key", as(otherKey)).want(403)
	if log := w.log.String(); strings.Contains(log, key) || strings.Contains(log, rotated) {
		t.Error("a key is in the log")
	}
}

func TestFirstSigningKeyIsOne(t *testing.T) {
	w := newWorld(t)
	s := w.create("")
	var mu sync.Mutex
	var keys []string
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			key := string(w.get("/sandbox/" + s.ID + "/signing-key").body)
			mu.Lock()
			keys = append(keys, key)
			mu.Unlock()
		})
	}
	wg.Wait()
	slices.Sort(keys)
	if keys = slices.Compact(keys); len(keys) != 1 || keys[0] == "" {
		t.Errorf("%d keys", len(keys))
	}
}
