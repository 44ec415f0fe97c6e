//go:build linux

package lsp_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dugout-dev/dugout/internal/daemon/lsp"
)

// TestMain makes this program a language server when it is started as one.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && strings.HasPrefix(os.Args[1], "server:") {
		server(strings.TrimPrefix(os.Args[1], "server:"))
		os.Exit(0)
	}
	os.Exit(m.Run())
}

type any_ = map[string]any

// server is a small language server. Its symbols and completions are the words of a document.
func server(mode string) {
	in, out := bufio.NewReader(os.Stdin), os.Stdout
	say := func(v any) {
		b, _ := json.Marshal(v)
		_, _ = out.Write(lsp.Frame(b))
	}
	if mode == "exit" {
		fmt.Fprintln(os.Stderr, "no licence")
		os.Exit(3)
	}
	documents := map[string]string{}
	asked := 0
	for {
		var m struct {
			ID     json.RawMessage `json:"id"`
			Method string          `json:"method"`
			Result json.RawMessage `json:"result"`
			Params struct {
				InitializationOptions json.RawMessage `json:"initializationOptions"`
				Query                 string          `json:"query"`
				TextDocument          struct {
					URI, LanguageID, Text string
					Version               int
				} `json:"textDocument"`
				ContentChanges []struct{ Text string } `json:"contentChanges"`
				Context        any                     `json:"context"`
				Position       any                     `json:"position"`
			} `json:"params"`
		}
		size := 0
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				return
			}
			if line = strings.TrimSpace(line); line == "" {
				break
			}
			if v, ok := strings.CutPrefix(line, "Content-Length:"); ok {
				size, _ = strconv.Atoi(strings.TrimSpace(v))
			}
		}
		body := make([]byte, size)
		if _, err := io.ReadFull(in, body); err != nil || json.Unmarshal(body, &m) != nil {
			os.Exit(4)
		}
		reply := func(result any) { say(any_{"jsonrpc": "2.0", "id": m.ID, "result": result}) }
		doc := m.Params.TextDocument
		switch m.Method {
		case "initialize":
			reply(any_{"capabilities": any_{"completionProvider": any_{}, "documentSymbolProvider": true, "workspaceSymbolProvider": mode != "poor"}})
			switch mode {
			case "garbage":
				_, _ = io.WriteString(out, "this is no header\r\n\r\n")
			case "huge":
				_, _ = io.WriteString(out, "Content-Length: 16777217\r\n\r\n")
			case "deaf":
				time.Sleep(time.Hour)
			}
		case "textDocument/didOpen":
			documents[doc.URI] = doc.LanguageID + " " + doc.Text
		case "textDocument/didChange":
			documents[doc.URI] = "changed " + m.Params.ContentChanges[0].Text
		case "textDocument/didClose":
			delete(documents, doc.URI)
		case "textDocument/completion":
			text, open := documents[doc.URI]
			if !open {
				say(any_{"jsonrpc": "2.0", "id": m.ID, "error": any_{"code": -32602, "message": "not open: " + doc.URI}})
				continue
			}
			switch {
			case mode == "hang":
				continue
			case mode == "busy" && asked < 2:
				asked++
				say(any_{"jsonrpc": "2.0", "id": m.ID, "error": any_{"code": -32801, "message": "content modified"}})
				continue
			case strings.Contains(text, "crash once"):
				if os.WriteFile("crashed", nil, 0o600) == nil && asked == 0 {
					if _, err := os.Stat("crashed twice"); err != nil {
						_ = os.WriteFile("crashed twice", nil, 0o600)
						os.Exit(7)
					}
				}
			case strings.Contains(text, "crash always"):
				fmt.Fprintln(os.Stderr, "out of luck")
				os.Exit(7)
			}
			// Ask the client something first, and tell its answer.
			say(any_{"jsonrpc": "2.0", "id": "mine", "method": "workspace/configuration", "params": any_{"items": []any_{{"section": "a.b"}}}})
			reply(any_{"isIncomplete": true, "items": []any_{
				{"label": text, "kind": 3, "documentation": "plain", "data": 1, "textEdit": any_{"newText": "inserted"}},
				{"label": fmt.Sprint(m.Params.Position, m.Params.Context), "documentation": any_{"kind": "markdown", "value": "**x**"}, "command": any_{}},
				{"label": strconv.Itoa(len(documents))},
				{"label": strconv.Itoa(os.Getpid())},
			}})
		case "textDocument/documentSymbol":
			at := any_{"start": any_{"line": 0, "character": 0}, "end": any_{"line": 1, "character": 2}}
			reply([]any_{{"name": "outer", "kind": 5, "range": at, "selectionRange": at, "children": []any_{{"name": "inner", "kind": 6, "range": at, "selectionRange": at}}}})
		case "workspace/symbol":
			if mode == "poor" {
				say(any_{"jsonrpc": "2.0", "id": m.ID, "error": any_{"code": -32601, "message": "unknown"}})
				continue
			}
			reply([]any_{{"name": m.Params.Query, "kind": 12, "containerName": "x", "location": any_{"uri": "file:///x", "range": any_{"start": any_{"line": 1, "character": 2}, "end": any_{"line": 3, "character": 4}}}}})
		case "shutdown":
			if mode == "stubborn" {
				continue
			}
			reply(nil)
		case "exit":
			return
		case "":
			if string(m.ID) == `"mine"` && string(m.Result) != `[null]` && string(m.Result) != `["set"]` {
				os.Exit(5)
			}
		}
	}
}
