package dugout_test

import (
	"encoding/json"
	"io"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dugout-dev/dugout/api/toolbox"
)

// TestLanguageServer: what is sent. What servers make of it is tested with the daemon and in real sandboxes.
func TestLanguageServer(t *testing.T) {
	var asked []string
	answers := map[string]any{
		"/lsp/completions":      toolbox.LSPCompletionList{IsIncomplete: true, Items: []toolbox.LSPCompletionItem{{Label: "x"}}},
		"/lsp/document-symbols": []toolbox.LSPSymbol{{Name: "d"}},
		"/lsp/workspacesymbols": []toolbox.LSPSymbol{{Name: "w"}},
	}
	s := inside(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		asked = append(asked, r.Method+" "+r.URL.RequestURI()+" "+string(b))
		if a, ok := answers[r.URL.Path]; ok {
			_ = json.NewEncoder(w).Encode(a)
		}
	}))
	l, ctx := s.LanguageServer("python", "p q"), t.Context()
	for _, do := range []func() error{func() error { return l.Start(ctx) }, func() error { return l.Open(ctx, "a b.py") }, func() error { return l.Close(ctx, "a b.py") }, func() error { return l.Stop(ctx) }} {
		if err := do(); err != nil {
			t.Error(err)
		}
	}
	if c, err := l.Completions(ctx, "a b.py", 0, 0); err != nil || !c.IsIncomplete || len(c.Items) != 1 || c.Items[0].Label != "x" {
		t.Errorf("%+v %v", c, err)
	}
	if d, err := l.Symbols(ctx, "a b.py"); err != nil || len(d) != 1 || d[0].Name != "d" {
		t.Errorf("%+v %v", d, err)
	}
	if w, err := l.Find(ctx, "a&b"); err != nil || len(w) != 1 || w[0].Name != "w" {
		t.Errorf("%+v %v", w, err)
	}
	const name = `{"languageId":"python","pathToProject":"p q"`
	if diff := cmp.Diff([]string{
		`POST /lsp/start ` + name + `}`,
		`POST /lsp/did-open ` + name + `,"uri":"file://a b.py"}`,
		`POST /lsp/did-close ` + name + `,"uri":"file://a b.py"}`,
		`POST /lsp/stop ` + name + `}`,
		`POST /lsp/completions ` + name + `,"uri":"file://a b.py","position":{"line":0,"character":0}}`,
		`GET /lsp/document-symbols?languageId=python&pathToProject=p+q&uri=file%3A%2F%2Fa+b.py `,
		`GET /lsp/workspacesymbols?languageId=python&pathToProject=p+q&query=a%26b `,
	}, asked); diff != "" {
		t.Error(diff)
	}
}
