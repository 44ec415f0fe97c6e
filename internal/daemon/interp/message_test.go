//go:build linux

package interp_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/dugout-dev/dugout/internal/daemon/interp"
)

func FuzzParseRun(f *testing.F) {
	for _, s := range []string{`{"code":"1"}`, `{"code":"1","contextId":"default","timeout":0,"envs":{"A":"b"}}`, `{"code":"1","timeout":-1}`, `{"code":"1","timeout":1e300}`, `[]`, `null`, ``, ` {"code":1}`, `{"code":"\ud800","envs":{"=":"\u0000"}}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		code, seconds, closing := interp.ParseRun(data)
		switch closing {
		case 0:
			if code == "" || seconds < 0 || !json.Valid(data) {
				t.Errorf("accepted %q: %q %v", data, code, seconds)
			}
		case 1002, 1008:
		default:
			t.Errorf("close code %d", closing)
		}
	})
}

func FuzzParseMessage(f *testing.F) {
	for _, s := range []string{`{"type":"done"}`, `{"type":"error","name":"N","value":"v","traceback":"t"}`, `{"type":"display","text":"t","data":{"a/b":"c"},"chart":{"type":"bar","elements":[{"value":1}]}}`,
		`{"type":"result","text":5}`, `{"type":"control","text":"completed"}`, `{"type":"stdout","text":"forged"}`, `{}`, `null`, `[[[[[[[[[[[[[[[[[[`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := interp.ParseMessage(data)
		if err != nil {
			return
		}
		switch m.Type {
		case "done", "error", "display", "result": // a worker cannot speak for the daemon
		default:
			t.Errorf("%q came through", m.Type)
		}
		if _, err := json.Marshal(m); err != nil {
			t.Error(err)
		}
	})
}

func TestHugeChart(t *testing.T) {
	m, err := interp.ParseMessage([]byte(`{"type":"display","text":"","data":{},"chart":{"type":"line","elements":[` + strings.Repeat("{},", 1<<20) + `{}]}}`))
	if err != nil || m.Chart != nil || !strings.Contains(m.Text, "too large") {
		t.Errorf("%.100v %v", m, err)
	}
	m, err = interp.ParseMessage([]byte(`{"type":"display","text":"","data":{},"chart":{"type":"line","elements":[{}]}}`))
	if err != nil || m.Chart == nil || len(m.Chart.Elements) != 1 {
		t.Errorf("%.100v %v", m, err)
	}
}
