// Package bustest is what every bus must do.
package bustest

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/dugout-dev/dugout/internal/bus"
	"github.com/dugout-dev/dugout/internal/errs"
)

// patience is how long a message may take, on a bus to other processes too.
const patience = 10 * time.Second

// Run checks a kind of bus. open returns a new, empty one; the suite closes it.
func Run(t *testing.T, open func(t *testing.T) bus.Bus) {
	t.Run("topics", func(t *testing.T) {
		b := open(t)
		defer b.Close()
		all := subscribe(t, b)
		some := subscribe(t, b, "b", "c")
		for _, topic := range []string{"a", "b", "c"} {
			publish(t, b, bus.Message{Topic: topic, Key: "k", Body: []byte(topic)})
		}
		for _, want := range []string{"a", "b", "c"} {
			if m := next(t, all); m.Topic != want || string(m.Body) != want || m.Key != "k" || m.Lost != 0 {
				t.Errorf("got %+v, want %s", m, want)
			}
		}
		for _, want := range []string{"b", "c"} {
			if m := next(t, some); m.Topic != want {
				t.Errorf("got %s, want %s", m.Topic, want)
			}
		}
	})
	t.Run("order of each publisher", func(t *testing.T) {
		b := open(t)
		defer b.Close()
		ch := subscribe(t, b)
		var wg sync.WaitGroup
		const publishers, messages = 4, 30
		for p := range publishers {
			wg.Go(func() {
				for n := range messages {
					publish(t, b, bus.Message{Topic: "t", Key: fmt.Sprint(p), Body: []byte(fmt.Sprint(n))})
				}
			})
		}
		seen := map[string]int{}
		for range publishers * messages {
			m := next(t, ch)
			if string(m.Body) != fmt.Sprint(seen[m.Key]) {
				t.Fatalf("publisher %s: got %s, want %d", m.Key, m.Body, seen[m.Key])
			}
			seen[m.Key]++
		}
		wg.Wait()
	})
	t.Run("a slow listener holds up nobody and is told what it missed", func(t *testing.T) {
		b := open(t)
		defer b.Close()
		slow, quick := subscribe(t, b), subscribe(t, b)
		const sent = 5000
		for n := range sent {
			publish(t, b, bus.Message{Topic: "t", Body: []byte(fmt.Sprint(n))})
			next(t, quick)
		}
		got, lost := 0, 0
		for done := false; !done; {
			select {
			case m := <-slow:
				got, lost = got+1, lost+m.Lost
			default:
				done = true
			}
		}
		publish(t, b, bus.Message{Topic: "t"})
		m := next(t, slow)
		if lost += m.Lost; got+lost != sent || lost == 0 {
			t.Errorf("got %d and told of %d lost, of %d", got, lost, sent)
		}
	})
	t.Run("end of a subscription", func(t *testing.T) {
		b := open(t)
		defer b.Close()
		ctx, cancel := context.WithCancel(context.Background())
		ch, err := b.Subscribe(ctx)
		if err != nil {
			t.Fatal(err)
		}
		cancel()
		closed(t, ch)
		publish(t, b, bus.Message{Topic: "t"})
	})
	t.Run("bad messages", func(t *testing.T) {
		b := open(t)
		defer b.Close()
		for _, m := range []bus.Message{{}, {Topic: "t", Body: make([]byte, bus.MaxBody+1)}} {
			if err := b.Publish(context.Background(), m); !errs.Is(err, errs.Invalid) {
				t.Errorf("%q, %d bytes: %v", m.Topic, len(m.Body), err)
			}
		}
	})
	t.Run("closed", func(t *testing.T) {
		b := open(t)
		ch := subscribe(t, b)
		for range 2 {
			if err := b.Close(); err != nil {
				t.Error(err)
			}
		}
		closed(t, ch)
		if err := b.Publish(context.Background(), bus.Message{Topic: "t"}); !errs.Is(err, errs.Unavailable) {
			t.Errorf("publish: %v", err)
		}
		if _, err := b.Subscribe(context.Background()); !errs.Is(err, errs.Unavailable) {
			t.Errorf("subscribe: %v", err)
		}
	})
}

func subscribe(t *testing.T, b bus.Bus, topics ...string) <-chan bus.Message {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	ch, err := b.Subscribe(ctx, topics...)
	if err != nil {
		t.Fatal(err)
	}
	return ch
}

func publish(t *testing.T, b bus.Bus, m bus.Message) {
	t.Helper()
	if err := b.Publish(context.Background(), m); err != nil {
		t.Error(err)
	}
}

func next(t *testing.T, ch <-chan bus.Message) bus.Message {
	t.Helper()
	select {
	case m, ok := <-ch:
		if !ok {
			t.Fatal("closed, want a message")
		}
		return m
	case <-time.After(patience):
		t.Fatal("no message")
		return bus.Message{}
	}
}

func closed(t *testing.T, ch <-chan bus.Message) {
	t.Helper()
	deadline := time.After(patience)
	for {
		select {
		case _, ok := <-ch:
			if !ok {
				return
			}
		case <-deadline:
			t.Fatal("not closed")
		}
	}
}
