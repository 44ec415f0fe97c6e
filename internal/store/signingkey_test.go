package store_test

import (
	"context"
	"sync"
	"testing"

	"github.com/dugout-dev/dugout/internal/sandbox"
	"github.com/dugout-dev/dugout/internal/store/storetest"
)

func TestSigningKeys(t *testing.T) {
	storetest.Each(t, func(t *testing.T, address string) {
		db, ctx := storetest.Open(t, address), context.Background()
		mine, _, runner := fixture(t, db)
		s, other := insert(t, db, fresh(mine, runner)), insert(t, db, fresh(mine, runner))
		table := db.Sandboxes()
		if key, err := table.SigningKey(ctx, s.ID); key != "" || err != nil {
			t.Errorf("before the first: %q %v", key, err)
		}
		// Several first callers agree on one.
		got := make([]string, 8)
		var wg sync.WaitGroup
		for i := range got {
			wg.Go(func() {
				key, err := table.MakeSigningKey(ctx, s.ID, "key-"+string(rune('a'+i)), epoch)
				if err != nil {
					t.Error(err)
				}
				got[i] = key
			})
		}
		wg.Wait()
		for _, key := range got {
			if key == "" || key != got[0] {
				t.Fatalf("the first callers got %q", got)
			}
		}
		if err := table.ReplaceSigningKey(ctx, s.ID, "new", epoch); err != nil {
			t.Fatal(err)
		}
		if key, err := table.MakeSigningKey(ctx, s.ID, "newer", epoch); key != "new" || err != nil {
			t.Errorf("after the rotation: %q %v", key, err)
		}
		if err := table.ReplaceSigningKey(ctx, other.ID, "others", epoch); err != nil { // without a first one
			t.Fatal(err)
		}
		if key, err := table.SigningKey(ctx, other.ID); key != "others" || err != nil {
			t.Errorf("of the other: %q %v", key, err)
		}
		if _, err := table.MakeSigningKey(ctx, "00000000-0000-4000-8000-000000000000", "k", epoch); err == nil {
			t.Error("a key for no sandbox")
		}
		s.State, s.Desired = "destroyed", "destroyed"
		if ok, err := table.Save(ctx, s, sandbox.Quota{}); !ok || err != nil {
			t.Fatal(ok, err)
		}
		s.Version++
		if ok, err := table.Remove(ctx, s); !ok || err != nil {
			t.Fatal(ok, err)
		}
		if key, err := table.SigningKey(ctx, s.ID); key != "" || err != nil {
			t.Errorf("it outlives its sandbox: %q %v", key, err)
		}
	})
}
