package org_test

import (
	"context"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dugout-dev/dugout/internal/errs"
	"github.com/dugout-dev/dugout/internal/id"
	"github.com/dugout-dev/dugout/internal/org"
	"github.com/dugout-dev/dugout/internal/store"
	"github.com/dugout-dev/dugout/internal/store/storetest"
)

var ctx = context.Background()

const adminKey = "admin-key-of-the-test"

// clock is a wall clock in the hands of the test.
type clock struct {
	mu  sync.Mutex // guards now
	now time.Time
}

func (c *clock) Now() time.Time { c.mu.Lock(); defer c.mu.Unlock(); return c.now }
func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	c.now = c.now.Add(d)
	c.mu.Unlock()
}

func directory(t *testing.T, address string) (*org.Directory, *store.DB, *clock) {
	t.Helper()
	db := storetest.Open(t, address)
	c := &clock{now: time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)}
	return org.NewDirectory(db.Organizations(), slog.New(slog.DiscardHandler), c.Now), db, c
}

func TestBootstrap(t *testing.T) {
	storetest.Each(t, func(t *testing.T, address string) {
		d, db, _ := directory(t, address)
		var first org.Foundation
		var wg sync.WaitGroup
		var mu sync.Mutex
		for range 8 { // several processes start at once
			wg.Go(func() {
				f, err := org.NewDirectory(db.Organizations(), slog.New(slog.DiscardHandler), nil).Bootstrap(ctx, org.BootstrapConfig{AdminKey: adminKey, Limits: org.Limits{Sandboxes: 7}})
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				first = f
				mu.Unlock()
			})
		}
		wg.Wait()
		orgs, err := d.Organizations(ctx, org.AdminName)
		if err != nil || len(orgs) != 1 || orgs[0].Name != "Personal" || !orgs[0].Personal || orgs[0].DefaultRegion != "us" || orgs[0].MaxSandboxes != 7 {
			t.Fatalf("organizations: %+v %v", orgs, err)
		}
		a, err := d.Authenticate(ctx, adminKey)
		if err != nil {
			t.Fatal(err)
		}
		if a.OrganizationID != first.Organization.ID || !a.Admin || a.Role != org.Owner || a.Key.Name != "dugout-admin" || a.Key.Prefix != "adm" || a.Key.Suffix != "est" {
			t.Errorf("actor: %+v", a)
		}
		if d := cmp.Diff(org.AllPermissions, a.Key.Permissions); d != "" {
			t.Error(d)
		}
		// A changed value replaces the old key; changed limits and region names take effect; nothing else changes.
		f, err := d.Bootstrap(ctx, org.BootstrapConfig{AdminKey: "another-key-0123", RegionName: "home", Limits: org.Limits{TotalCPU: 4}})
		if err != nil || f.Organization.ID != first.Organization.ID {
			t.Fatalf("second bootstrap: %v %v", f.Organization.ID, err)
		}
		if _, err := d.Authenticate(ctx, adminKey); !errs.Is(err, errs.Unauthenticated) {
			t.Errorf("the old key: %v", err)
		}
		if _, err := d.Authenticate(ctx, "another-key-0123"); err != nil {
			t.Errorf("the new key: %v", err)
		}
		o, err := d.Organization(ctx, first.Organization.ID)
		if err != nil || o.MaxSandboxes != 0 || o.TotalCPU != 4 {
			t.Errorf("limits: %+v %v", o, err)
		}
		if r, err := d.SharedRegions(ctx); err != nil || len(r) != 1 || r[0].ID != "us" || r[0].Name != "home" {
			t.Errorf("regions: %+v %v", r, err)
		}
		if u, err := d.User(ctx, org.AdminName); err != nil || !u.Admin {
			t.Errorf("user: %+v %v", u, err)
		}
		if _, err := d.Bootstrap(ctx, org.BootstrapConfig{AdminKey: "short"}); !errs.Is(err, errs.Invalid) {
			t.Errorf("short key: %v", err)
		}
	})
}

func TestAuthenticate(t *testing.T) {
	storetest.Each(t, func(t *testing.T, address string) {
		d, db, c := directory(t, address)
		f, err := d.Bootstrap(ctx, org.BootstrapConfig{AdminKey: adminKey})
		if err != nil {
			t.Fatal(err)
		}
		orgID := f.Organization.ID
		value := id.APIKey()
		k := org.NewKey(orgID, org.AdminName, "ci", value, []string{org.WriteSandboxes}, c.Now())
		k.ExpiresAt = c.Now().Add(time.Hour)
		if err := db.Organizations().AddKey(ctx, k); err != nil {
			t.Fatal(err)
		}
		if err := db.Organizations().AddKey(ctx, k); !errs.Is(err, errs.Conflict) {
			t.Errorf("the same name again: %v", err)
		}
		a, err := d.Authenticate(ctx, value)
		if err != nil || !a.May(org.WriteSandboxes) || a.May(org.DeleteSandboxes) {
			t.Fatalf("%+v %v", a, err)
		}
		var messages []string
		for _, token := range []string{"", "x", value[:len(value)-1], value + "0", strings.ToUpper(value), id.HashKey(value), strings.Repeat("y", 5000)} {
			_, err := d.Authenticate(ctx, token)
			if !errs.Is(err, errs.Unauthenticated) {
				t.Errorf("token of %d characters: %v", len(token), err)
				continue
			}
			messages = append(messages, err.Error())
		}
		for _, m := range messages {
			if m != messages[0] {
				t.Errorf("two messages: %q and %q", m, messages[0])
			}
		}
		// A revoked key stops working within 5 s, also where it was used a moment ago.
		if err := db.Organizations().RemoveKey(ctx, orgID, org.AdminName, "ci"); err != nil {
			t.Fatal(err)
		}
		c.add(5 * time.Second)
		if _, err := d.Authenticate(ctx, value); !errs.Is(err, errs.Unauthenticated) {
			t.Errorf("revoked: %v", err)
		}
		if err := db.Organizations().RemoveKey(ctx, orgID, org.AdminName, "ci"); !errs.Is(err, errs.NotFound) {
			t.Errorf("revoked twice: %v", err)
		}
		// Expiry holds to the moment, cached or not.
		k.ExpiresAt = c.Now().Add(2 * time.Second)
		if err := db.Organizations().AddKey(ctx, k); err != nil {
			t.Fatal(err)
		}
		if _, err := d.Authenticate(ctx, value); err != nil {
			t.Error(err)
		}
		c.add(2 * time.Second)
		if _, err := d.Authenticate(ctx, value); !errs.Is(err, errs.Unauthenticated) {
			t.Errorf("expired: %v", err)
		}
		// A suspended organization.
		if err := db.Organizations().Suspend(ctx, orgID, true, "unpaid", c.Now()); err != nil {
			t.Fatal(err)
		}
		d.Forget()
		if _, err := d.Authenticate(ctx, adminKey); !errs.Is(err, errs.Denied) || !strings.Contains(err.Error(), "unpaid") {
			t.Errorf("suspended: %v", err)
		}
		if _, err := d.Bootstrap(ctx, org.BootstrapConfig{AdminKey: adminKey}); err != nil {
			t.Fatal(err)
		}
		if _, err := d.Authenticate(ctx, adminKey); !errs.Is(err, errs.Denied) {
			t.Errorf("a restart lifts a suspension: %v", err)
		}
		// A database that is away is not a wrong credential.
		_ = db.Close()
		d.Forget()
		if _, err := d.Authenticate(ctx, adminKey); !errs.Is(err, errs.Unavailable) {
			t.Errorf("without a database: %v", err)
		}
	})
}

func TestRegion(t *testing.T) {
	d, _, _ := directory(t, storetest.SQLite(t))
	f, err := d.Bootstrap(ctx, org.BootstrapConfig{AdminKey: adminKey, RegionID: "r-1", RegionName: "home"})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"", "home", "r-1"} {
		if r, err := d.Region(ctx, f.Organization.ID, name); err != nil || r.ID != "r-1" {
			t.Errorf("%q: %+v %v", name, r, err)
		}
	}
	if _, err := d.Region(ctx, f.Organization.ID, "mars"); !errs.Is(err, errs.NotFound) {
		t.Errorf("unknown: %v", err)
	}
}

func TestNoKeyValueIsStored(t *testing.T) {
	address := storetest.SQLite(t)
	d, db, _ := directory(t, address)
	if _, err := d.Bootstrap(ctx, org.BootstrapConfig{AdminKey: adminKey}); err != nil {
		t.Fatal(err)
	}
	_ = db.Close()
	path := strings.TrimPrefix(address, "sqlite:")
	for _, file := range []string{path, path + "-wal"} {
		b, err := os.ReadFile(file)
		if err == nil && strings.Contains(string(b), adminKey) {
			t.Errorf("%s holds the key", file)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v %v", info.Mode(), err)
	}
}

func TestLastUseIsNoted(t *testing.T) {
	address := storetest.SQLite(t)
	synctest.Test(t, func(t *testing.T) {
		db := storetest.Open(t, address)
		d := org.NewDirectory(db.Organizations(), slog.New(slog.DiscardHandler), nil)
		if _, err := d.Bootstrap(ctx, org.BootstrapConfig{AdminKey: adminKey}); err != nil {
			t.Fatal(err)
		}
		running, stop := context.WithCancel(ctx)
		done := make(chan error, 1)
		go func() { done <- d.Run(running) }()
		if _, err := d.Authenticate(ctx, adminKey); err != nil {
			t.Fatal(err)
		}
		at := time.Now()
		time.Sleep(11 * time.Second) // of the bubble
		synctest.Wait()
		if a, err := d.Authenticate(ctx, adminKey); err != nil || !a.Key.LastUsedAt.Equal(at) {
			t.Errorf("last used %v, want %v (%v)", a.Key.LastUsedAt, at, err)
		}
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		_ = db.Close()
	})
}
