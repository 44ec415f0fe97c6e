package code_test

import (
	"runtime"
	"strings"
	"testing"

	"github.com/dugout-dev/dugout/internal/daemon/code"
)

// A small text must not become a large chart: an empty element takes two bytes of text, and hundreds once it is read.
func TestArtifactsDoNotGrow(t *testing.T) {
	for name, line := range map[string]string{
		"elements": `{"type":"chart","value":{"type":"line","elements":[` + strings.Repeat("{},", 1<<20) + `{}]}}`,
		"points":   `{"type":"chart","value":{"type":"line","elements":[{"points":[` + strings.Repeat("[],", 1<<20) + `[]]}]}}`,
		"texts":    `{"type":"chart","value":{"type":"line","x_tick_labels":[` + strings.Repeat(`"",`, 1<<20) + `""]}}`,
	} {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		charts := &code.Charts{}
		charts.Add([]byte(line))
		list, _ := charts.Take()
		runtime.GC()
		runtime.ReadMemStats(&after)
		if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 64<<20 {
			t.Errorf("%s: %d MiB of text became %d MiB", name, len(line)>>20, grown>>20)
		}
		runtime.KeepAlive(list)
	}
}
