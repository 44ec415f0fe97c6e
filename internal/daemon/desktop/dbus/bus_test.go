//go:build linux

package dbus_test

import (
	"context"
	"encoding/binary"
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dugout-dev/dugout/internal/daemon/desktop/dbus"
	"github.com/dugout-dev/dugout/internal/daemon/desktop/dbus/dbustest"
)

func TestAddress(t *testing.T) {
	for in, want := range map[string]string{
		"unix:path=/run/user/1000/bus": "/run/user/1000/bus", "unix:path=/a%20b,guid=12": "/a b", "tcp:host=x;unix:abstract=/tmp/x,guid=1": "@/tmp/x",
		"unix:guid=1,path=/x": "/x",
	} {
		if got, err := dbus.Address(in); err != nil || got != want {
			t.Errorf("%q: %q, %v", in, got, err)
		}
	}
	for _, bad := range []string{"", "unix:", "unix:path=", "tcp:host=1", "unix:path=%zz", "unix:path=a%00b", "unix:path=/" + strings.Repeat("x", 200), "autolaunch:", strings.Repeat("unix:", 2000)} {
		if got, err := dbus.Address(bad); err == nil {
			t.Errorf("%.40q: %q", bad, got)
		}
	}
}

// The package speaks with a real bus.
func TestRealBus(t *testing.T) {
	path, err := exec.LookPath("dbus-daemon")
	if err != nil {
		t.Skip("dbus-daemon is not installed")
	}
	address := "unix:path=" + filepath.Join(t.TempDir(), "bus")
	cmd := exec.CommandContext(t.Context(), path, "--session", "--nofork", "--nopidfile", "--nosyslog", "--address="+address)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	var c *dbus.Conn
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if c, err = dbus.Dial(t.Context(), address); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	defer c.Close()
	const bus = "org.freedesktop.DBus"
	replies, err := c.Calls(t.Context(), []dbus.Call{
		{Dest: bus, Path: "/org/freedesktop/DBus", Interface: bus, Method: "GetId"},
		{Dest: bus, Path: "/org/freedesktop/DBus", Interface: bus, Method: "ListNames"},
		{Dest: bus, Path: "/org/freedesktop/DBus", Interface: bus, Method: "GetConnectionUnixProcessID", Signature: "s", Body: dbus.Body("no.such.name")},
	})
	if err != nil {
		t.Fatal(err)
	}
	if r, err := replies[0].Read("s"); err != nil || len(r.String()) != 32 || r.Bad() {
		t.Errorf("GetId: %v", err)
	}
	r, err := replies[1].Read("as")
	if err != nil {
		t.Fatal(err)
	}
	names := 0
	r.Array(4, func() { _ = r.String(); names++ })
	if names != 2 || r.Bad() {
		t.Errorf("%d names", names)
	}
	if e := (*dbus.Error)(nil); !errors.As(replies[2].Err, &e) || e.Name != "org.freedesktop.DBus.Error.NameHasNoOwner" {
		t.Errorf("%v", replies[2].Err)
	}
}

func dial(t *testing.T, handle func(dbustest.Call) dbustest.Answer) *dbus.Conn {
	t.Helper()
	b := dbustest.Start(t, handle)
	c, err := dbus.Dial(t.Context(), b.Address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func text(s string) dbustest.Answer {
	w := dbus.Body(s)
	return dbustest.Answer{Signature: "s", Body: w.Bytes()}
}

func TestOneSilentCallDoesNotHoldUpTheOthers(t *testing.T) {
	c := dial(t, func(call dbustest.Call) dbustest.Answer {
		if call.Method == "Silent" {
			return dbustest.Answer{Silent: true}
		}
		return text(call.Method)
	})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	replies, err := c.Calls(ctx, []dbus.Call{{Path: "/", Method: "A"}, {Path: "/", Method: "Silent"}, {Path: "/", Method: "B"}})
	if err != nil || replies[0] == nil || replies[1] != nil || replies[2] == nil {
		t.Fatal(replies, err)
	}
	replies, err = c.Calls(t.Context(), []dbus.Call{{Path: "/", Method: "C"}}) // the connection is as good as before
	if err != nil {
		t.Fatal(err)
	}
	if r, err := replies[0].Read("s"); err != nil || r.String() != "C" {
		t.Error(err)
	}
}

func TestHostileAnswers(t *testing.T) {
	header := func(kind byte, body, fields uint32) []byte {
		b := []byte{'l', kind, 1, 1}
		b = binary.LittleEndian.AppendUint32(b, body)
		b = binary.LittleEndian.AppendUint32(b, 1)
		return binary.LittleEndian.AppendUint32(b, fields)
	}
	for name, raw := range map[string][]byte{
		"endless fields":  header(2, 0, 1<<31),
		"endless body":    header(2, 1<<31, 0),
		"no byte order":   append([]byte{'x'}, header(2, 0, 0)[1:]...),
		"half a message":  header(2, 100, 8)[:10],
		"nothing at once": {},
	} {
		t.Run(name, func(t *testing.T) {
			b := dbustest.Start(t, func(dbustest.Call) dbustest.Answer { return dbustest.Answer{Raw: raw} })
			c, err := dbus.Dial(t.Context(), b.Address)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			replies, err := c.Calls(ctx, []dbus.Call{{Path: "/", Method: "X"}})
			if err == nil && (replies[0] != nil || !c.Alive()) || err != nil && c.Alive() {
				t.Errorf("%v, %v", replies, err)
			}
		})
	}
	large := dial(t, func(call dbustest.Call) dbustest.Answer {
		if call.Method == "Large" {
			return text(strings.Repeat("x", dbus.MaxMessage))
		}
		return text("small")
	})
	replies, err := large.Calls(t.Context(), []dbus.Call{{Path: "/", Method: "Large"}, {Path: "/", Method: "Small"}})
	if err != nil || !errors.Is(replies[0].Err, dbus.ErrTooLarge) || replies[1].Err != nil {
		t.Errorf("%v %v", replies, err)
	}
	if _, err := replies[1].Read("u"); !errors.Is(err, dbus.ErrAnswer) {
		t.Errorf("an answer of another type: %v", err)
	}
}

// Nothing that an answer contains makes the reader leave it.
func FuzzAnswer(f *testing.F) {
	w := dbus.Body("text", "more")
	f.Add(byte(2), []byte{5, 1, 'u', 0, 1, 0, 0, 0, 8, 1, 'g', 0, 5, 'a', '(', 's', 'o', ')', 0}, w.Bytes())
	f.Add(byte(3), []byte{4, 1, 's', 0, 3, 0, 0, 0, 'a', '.', 'b', 0}, []byte{255, 255, 255, 255})
	f.Add(byte(2), []byte{8, 255, 255}, []byte{16, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0})
	f.Fuzz(func(t *testing.T, kind byte, fields, body []byte) {
		_, _ = dbus.ParseHeader(kind, fields)
		for _, sig := range []string{"a(so)", "a(sss)", "au", "(iiii)", "v"} {
			r, err := dbus.NewReply(sig, body).Read(sig)
			if err != nil {
				t.Fatal(err)
			}
			count := 0
			switch sig {
			case "a(so)", "a(sss)":
				r.Array(8, func() { r.Struct(); _, _ = r.String(), r.String(); count++ })
			case "au":
				r.Array(4, func() { _ = r.Uint32(); count++ })
			case "(iiii)":
				r.Struct()
				_, _, _ = r.Uint32(), r.Double(), r.Uint32()
			case "v":
				if r.Variant("s") {
					_ = r.String()
				}
			}
			if count > len(body) {
				t.Fatalf("%d elements in %d bytes", count, len(body))
			}
		}
	})
}
