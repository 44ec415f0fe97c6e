//go:build linux

package lsp

import (
	"bufio"
	"bytes"
	"encoding/json"
	"time"

	"github.com/dugout-dev/dugout/api/toolbox"
)

// ReadFrames reads all messages in b.
func ReadFrames(b []byte) (bodies [][]byte, err error) {
	r := bufio.NewReaderSize(bytes.NewReader(b), maxHeader)
	for {
		body, err := readFrame(r)
		if err != nil {
			return bodies, err
		}
		bodies = append(bodies, body)
	}
}

// Frame puts the header before content.
func Frame(content []byte) []byte { return frame(content) }

// Symbols reads a server's list of symbols.
func Symbols(raw []byte, uri string) ([]toolbox.LSPSymbol, error) { return symbols(raw, uri) }

// Completions reads a server's completions.
func Completions(raw []byte) (toolbox.LSPCompletionList, error) { return completions(raw) }

// ParseConfig reads a configuration file.
func ParseConfig(b []byte) (int, error) {
	c, err := parseConfig(b, "lsp.json")
	return len(c), err
}

// Answer is what a server gets for its request.
func Answer(settings, method, params string) (string, bool) {
	out, fault := answer(language{Settings: json.RawMessage(settings)}, "/w/project", method, json.RawMessage(params))
	b, err := json.Marshal(out)
	if err != nil {
		return err.Error(), false
	}
	return string(b), fault == nil
}

// SetRequestTimeout changes it until the returned function is called.
func SetRequestTimeout(d time.Duration) func() {
	old := requestTimeout
	requestTimeout = d
	return func() { requestTimeout = old }
}

// Live counts the servers that run.
func (h *Handler) Live() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.live)
}

// Busy counts the servers that run and are in use.
func (h *Handler) Busy() (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, p := range h.projects {
		if p.busy > 0 && p.proc != nil {
			n++
		}
	}
	return n
}
