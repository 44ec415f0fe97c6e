package caller_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/dugout-dev/dugout/internal/daemon/caller"
)

func TestVersions(t *testing.T) {
	for _, tt := range []struct {
		version            string
		known, old, middle bool // at least 0.27.0, at least 0.188.0
	}{
		{"0.27.0", true, true, false},
		{"v0.27.0", true, true, false},
		{" 0.27.0 ", true, true, false},
		{"0.26.9", true, false, false},
		{"0.27.0a1", true, true, false}, // a pre-release counts as its release
		{"0.27.0-alpha.1", true, true, false},
		{"0.27.0rc2", true, true, false},
		{"0.187.99", true, true, false},
		{"0.188.0", true, true, true},
		{"0.188.0b3", true, true, true},
		{"0.205.1", true, true, true},
		{"1", true, true, true},
		{"1.0", true, true, true},
		{"0.27", true, true, false},
		{"0.0.0-dev", true, true, true},
		{"0.0.0", true, true, true},
		{"dev", true, true, true},
		{"0.30.0.dev4", true, true, true},
		{"", false, false, false},
		{"v", false, false, false},
		{"latest", false, false, false},
		{"0..1", false, false, false},
		{"-1.2.3", false, false, false},
		{"99999999999999999999.0.0", false, false, false},
		{strings.Repeat("1", 101), false, false, false},
	} {
		c := caller.Parse("sdk-python", tt.version)
		if c.Known() != tt.known || c.AtLeast(0, 27, 0) != tt.old || c.AtLeast(0, 188, 0) != tt.middle {
			t.Errorf("%q: known %v, at least 0.27.0 %v, at least 0.188.0 %v", tt.version, c.Known(), c.AtLeast(0, 27, 0), c.AtLeast(0, 188, 0))
		}
	}
}

func TestStrict(t *testing.T) {
	for _, tt := range []struct {
		source, version string
		want            bool
	}{
		{"sdk-go", "0.187.0", true},
		{"sdk-go", "0.188.0", false},
		{"sdk-go", "0.0.0-dev", false},
		{"sdk-go", "", false},
		{"sdk-python", "0.27.0", false},
		{"", "0.27.0", false},
	} {
		if got := caller.Parse(tt.source, tt.version).Strict(); got != tt.want {
			t.Errorf("%s %s: %v", tt.source, tt.version, got)
		}
	}
}

func TestOf(t *testing.T) {
	for name, tt := range map[string]struct {
		header http.Header
		want   string
	}{
		"header":              {http.Header{"X-Daytona-Sdk-Version": {"0.190.0"}, "X-Daytona-Source": {"sdk-typescript"}}, "0.190.0"},
		"subprotocol":         {http.Header{"Sec-Websocket-Protocol": {"chat, X-Daytona-SDK-Version~0.150.2"}}, "0.150.2"},
		"two lines":           {http.Header{"Sec-Websocket-Protocol": {"chat", "X-Daytona-SDK-Version~0.150.2"}}, "0.150.2"},
		"the first of two":    {http.Header{"Sec-Websocket-Protocol": {"X-Daytona-SDK-Version~0.1.0,X-Daytona-SDK-Version~0.2.0"}}, "0.1.0"},
		"the header wins":     {http.Header{"X-Daytona-Sdk-Version": {"0.190.0"}, "Sec-Websocket-Protocol": {"X-Daytona-SDK-Version~0.150.2"}}, "0.190.0"},
		"nothing":             {http.Header{}, ""},
		"another subprotocol": {http.Header{"Sec-Websocket-Protocol": {"X-Daytona-Pty-Exit-Control"}}, ""},
	} {
		c := caller.Of(&http.Request{Header: tt.header})
		if c.Version != tt.want || c.Known() != (tt.want != "") || c.Source != tt.header.Get("X-Daytona-Source") {
			t.Errorf("%s: %+v, want %q", name, c, tt.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, v := range []string{"0.27.0a1", "v1.2.3", "0.0.0-dev", "..", "1.", "٣.1.0", "0.1.0\x00"} {
		f.Add(v)
	}
	f.Fuzz(func(t *testing.T, v string) {
		c := caller.Parse("sdk-go", v)
		if !c.Known() && (c.AtLeast(0, 0, 0) || c.Strict()) {
			t.Errorf("%q: unknown and yet %+v", v, c)
		}
		if c.Known() && !c.AtLeast(0, 0, 0) {
			t.Errorf("%q: below zero: %+v", v, c)
		}
		if c.AtLeast(0, 188, 0) && !c.AtLeast(0, 27, 0) {
			t.Errorf("%q: no order: %+v", v, c)
		}
	})
}
