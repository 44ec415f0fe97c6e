package api_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dugout-dev/dugout/api"
)

func TestTime(t *testing.T) {
	at := time.Date(2026, 1, 2, 4, 4, 5, 6_999_999, time.FixedZone("", 3600))
	b, err := json.Marshal(map[string]any{"t": api.At(at), "p": api.AtOrNil(at), "n": api.AtOrNil(time.Time{})})
	if want := `{"n":null,"p":"2026-01-02T03:04:05.006Z","t":"2026-01-02T03:04:05.006Z"}`; err != nil || string(b) != want {
		t.Errorf("%s %v, want %s", b, err, want)
	}
	for s, want := range map[string]time.Time{
		`"2026-01-02T03:04:05.006Z"`: at.Truncate(time.Millisecond), `"2026-01-02T04:04:05.006999999+01:00"`: at, `"2026-01-02T03:04:05Z"`: at.Truncate(time.Second), `null`: {},
	} {
		var got api.Time
		if err := json.Unmarshal([]byte(s), &got); err != nil || !got.Equal(want) {
			t.Errorf("%s: %s %v", s, got, err)
		}
	}
	for _, s := range []string{`"yesterday"`, `5`, `""`, `"2026-01-02"`} {
		var got api.Time
		if err := json.Unmarshal([]byte(s), &got); err == nil {
			t.Errorf("%s: %s", s, got)
		}
	}
}

func TestGPUTypes(t *testing.T) {
	for s, want := range map[string]api.GPUTypes{`"H100"`: {"H100"}, `["H100","H200"]`: {"H100", "H200"}, `[]`: {}, `null`: nil} {
		var got api.GPUTypes
		if err := json.Unmarshal([]byte(s), &got); err != nil || !cmp.Equal(got, want) {
			t.Errorf("%s: %q %v", s, got, err)
		}
	}
	for _, s := range []string{`5`, `{}`, `[5]`} {
		var got api.GPUTypes
		if err := json.Unmarshal([]byte(s), &got); err == nil {
			t.Errorf("%s: %q", s, got)
		}
	}
}
