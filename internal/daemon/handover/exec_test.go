//go:build linux

package handover

import "testing"

// The state comes from another version of the program: what is not understood is an error, never a fault, and never takes a
// descriptor that is in use.
func FuzzState(f *testing.F) {
	f.Add([]byte(`{"format":1,"families":{"run":{"marks":1}},"fds":[]}`))
	f.Add([]byte(`{"format":2}`))
	f.Add([]byte(`{"format":1,"fds":[0,1,2,-1]}`))
	f.Add([]byte(`[`))
	f.Fuzz(func(t *testing.T, b []byte) {
		in, err := parse(b, 100)
		if err != nil {
			return
		}
		for fd := range in.fds {
			if fd < 3 || fd == 100 {
				t.Errorf("%q: descriptor %d", b, fd)
			}
		}
		clear(in.fds) // not ours to close
		var v map[string]any
		_, _ = in.Get("run", &v)
		if _, err := in.Take(3, "x"); err == nil {
			t.Errorf("%q: a descriptor that was not handed over", b)
		}
	})
}

func TestReads(t *testing.T) {
	for formats, want := range map[string]bool{"1": true, "1\n": true, "2 1": true, "2": false, "": false, "11": false} {
		if Reads(formats) != want {
			t.Errorf("%q: %v", formats, !want)
		}
	}
}
