//go:build linux

// Package lsp serves language servers: programs that know a language and a project, spoken to over their standard input
// and output.
//
// A client starts the server of a language for a project. From then on the server runs whenever it is needed: it is ended
// after a while without requests and started again by the next one, with the same documents open, and so it is when it
// crashed. What a server says is as hostile as anything in the sandbox: messages are bounded, and a server that breaks the
// protocol is ended.
package lsp

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/daemon/environ"
	"github.com/dugout-dev/dugout/internal/daemon/run"
	"github.com/dugout-dev/dugout/internal/errs"
	"github.com/dugout-dev/dugout/internal/rest"
)

// Codes of errors.
const (
	codeNotInitialized = "LSP_SERVER_NOT_INITIALIZED"
	codeMissing        = "LSP_SERVER_NOT_INSTALLED"
	codeFailed         = "LSP_SERVER_FAILED"
	codeConfig         = "LSP_CONFIG_INVALID"
)

// Handler serves the routes of this package.
type Handler struct {
	Log     *slog.Logger
	Runner  *run.Runner
	Env     *environ.Env
	Edge    *rest.Edge
	Workdir string        // what relative paths start from
	Config  string        // file with further servers; empty: ConfigPath
	Idle    time.Duration // after which an unused server is ended; 0: DefaultIdle

	watching sync.WaitGroup // one for each process in live

	mu       sync.Mutex // guards all below
	projects map[key]*project
	live     map[*process]struct{}
	frozen   bool
	closing  bool
}

// Routes lists the operations. A nil handler will do for describing them.
func (h *Handler) Routes() []rest.Route {
	tag := rest.Tag("lsp")
	return []rest.Route{
		rest.Typed("POST", "/lsp/start", "Start", h.postStart, tag, rest.Summary("Start a language server for a project"),
			rest.Description("Known are python, typescript, javascript, go, rust, c, cpp, ruby, php, java and bash, as far as the sandbox has their servers, and what /etc/dugout/lsp.json names. Starting twice is no error.")),
		rest.Typed("POST", "/lsp/stop", "Stop", h.postStop, tag, rest.Summary("Stop a language server"), rest.Description("Stopping one that was not started is no error.")),
		rest.Typed("POST", "/lsp/did-open", "DidOpen", h.didOpen, tag, rest.Summary("Open a document in a language server"),
			rest.Description("The file is read in the sandbox, at most 8 MiB. What changes on disk afterwards is told to the server before the next request about the document.")),
		rest.Typed("POST", "/lsp/did-close", "DidClose", h.didClose, tag, rest.Summary("Close a document in a language server")),
		rest.Typed("POST", "/lsp/completions", "Completions", h.completions, tag, rest.Summary("Ask what could stand at a position"),
			rest.Description("A document that is not open is opened.")),
		rest.Typed("GET", "/lsp/document-symbols", "DocumentSymbols", h.documentSymbols, tag, rest.Summary("List the symbols of a document"),
			rest.Description("One flat list, symbols before those inside them. A document that is not open is opened.")),
		rest.Stream("GET", "/lsp/workspacesymbols", "WorkspaceSymbols", h.workspaceSymbols, tag, rest.Answers[[]toolbox.LSPSymbol](), rest.Summary("Find symbols of a project by name"),
			rest.Description("For a server that cannot, as pylsp, the files are looked at one by one: at most 1000 of at most 1 MiB, within 30 s, without directories that begin with a dot or hold packages; then a name has to contain the query. When files were left out for their number or for time, the header X-Dugout-Truncated is true.")),
	}
}

// Close ends all servers and waits for them.
func (h *Handler) Close() {
	h.mu.Lock()
	h.closing = true
	for _, p := range h.projects {
		p.take()
	}
	for proc := range h.live {
		proc.end(errEnded)
	}
	h.mu.Unlock()
	h.watching.Wait()
}

// key checks what names a project.
func (h *Handler) key(language, path string) (key, error) {
	if language == "" || len(language) > 64 {
		return key{}, errs.New(errs.Invalid, "languageId must have 1 to 64 characters, got %q", clip(language))
	}
	path, err := h.absolute("pathToProject", path)
	return key{language, path}, err
}

type serverIn struct{ Body toolbox.LSPServer }

func (h *Handler) postStart(ctx context.Context, in *serverIn) (rest.None, error) {
	k, err := h.key(in.Body.LanguageID, in.Body.PathToProject)
	if err != nil {
		return rest.None{}, err
	}
	return rest.None{}, h.start(ctx, k)
}

func (h *Handler) postStop(_ context.Context, in *serverIn) (rest.None, error) {
	k, err := h.key(in.Body.LanguageID, in.Body.PathToProject)
	if err == nil {
		h.stop(k)
	}
	return rest.None{}, err
}

type documentIn struct{ Body toolbox.LSPDocument }

func (h *Handler) didOpen(ctx context.Context, in *documentIn) (rest.None, error) {
	k, path, err := h.document(in.Body.LanguageID, in.Body.PathToProject, in.Body.URI)
	if err != nil {
		return rest.None{}, err
	}
	return rest.None{}, h.with(ctx, k, path, func(*process) error { return nil })
}

func (h *Handler) didClose(ctx context.Context, in *documentIn) (rest.None, error) {
	k, path, err := h.document(in.Body.LanguageID, in.Body.PathToProject, in.Body.URI)
	if err != nil {
		return rest.None{}, err
	}
	return rest.None{}, h.closeDocument(ctx, k, path)
}

// closeDocument closes a document. It does not start a server for that.
func (h *Handler) closeDocument(ctx context.Context, k key, path string) error {
	h.mu.Lock()
	p := h.projects[k]
	if p == nil {
		h.mu.Unlock()
		return notInitialized(k)
	}
	h.enter(p)
	h.mu.Unlock()
	defer h.leave(p)
	select {
	case <-p.turn:
		defer func() { p.turn <- struct{}{} }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if d := p.documents[path]; d != nil {
		h.forget(p, d.in, d)
	}
	return nil
}

func (h *Handler) document(language, project, uri string) (key, string, error) {
	k, err := h.key(language, project)
	if err != nil {
		return key{}, "", err
	}
	path, err := h.located(k.path, uri)
	return k, path, err
}

type completionsIn struct{ Body toolbox.LSPCompletionParams }

func (h *Handler) completions(ctx context.Context, in *completionsIn) (toolbox.LSPCompletionList, error) {
	var out toolbox.LSPCompletionList
	b := in.Body
	k, path, err := h.document(b.LanguageID, b.PathToProject, b.URI)
	if err != nil {
		return out, err
	}
	at, err := position(b.Position)
	if err != nil {
		return out, err
	}
	why := b.Context
	if why == nil {
		why = &toolbox.LSPCompletionContext{TriggerKind: 1}
	}
	if why.TriggerKind < 1 || why.TriggerKind > 3 {
		return out, errs.New(errs.Invalid, "context.triggerKind must be 1, 2 or 3, got %d", why.TriggerKind)
	}
	params := map[string]any{"textDocument": map[string]any{"uri": uriOf(path)}, "position": at, "context": why}
	err = h.with(ctx, k, path, func(p *process) error {
		raw, err := p.ask(ctx, "textDocument/completion", params)
		if err == nil {
			out, err = completions(raw)
		}
		return err
	})
	return out, err
}

// maxPosition is the largest line or character: an integer of the protocol.
const maxPosition = 1<<31 - 1

func position(p toolbox.LSPCompletionPosition) (toolbox.LSPPosition, error) {
	for name, v := range map[string]*int{"position.line": p.Line, "position.character": p.Character} {
		if v == nil {
			return toolbox.LSPPosition{}, errs.New(errs.Invalid, "%s is required", name)
		}
		if *v < 0 || *v > maxPosition {
			return toolbox.LSPPosition{}, errs.New(errs.Invalid, "%s must be a number from 0 to %d, got %d", name, maxPosition, *v)
		}
	}
	return toolbox.LSPPosition{Line: *p.Line, Character: *p.Character}, nil
}

type documentSymbolsIn struct {
	Language string `query:"languageId" required:"true" doc:"Language of the server."`
	Project  string `query:"pathToProject" required:"true" doc:"Root of the server's project."`
	URI      string `query:"uri" required:"true" doc:"file:// and the path of the document."`
}

func (h *Handler) documentSymbols(ctx context.Context, in *documentSymbolsIn) ([]toolbox.LSPSymbol, error) {
	k, path, err := h.document(in.Language, in.Project, in.URI)
	if err != nil {
		return nil, err
	}
	var out []toolbox.LSPSymbol
	err = h.with(ctx, k, path, func(p *process) error {
		out, err = documentSymbols(ctx, p, path)
		return err
	})
	return out, err
}

func documentSymbols(ctx context.Context, p *process, path string) ([]toolbox.LSPSymbol, error) {
	raw, err := p.ask(ctx, "textDocument/documentSymbol", map[string]any{"textDocument": map[string]any{"uri": uriOf(path)}})
	if err != nil {
		return nil, err
	}
	return symbols(raw, uriOf(path))
}

type workspaceSymbolsIn struct {
	Query    string `query:"query" doc:"What to look for; empty: everything, as far as the server likes."`
	Language string `query:"languageId" required:"true" doc:"Language of the server."`
	Project  string `query:"pathToProject" required:"true" doc:"Root of the server's project."`
}

func (h *Handler) workspaceSymbols(w http.ResponseWriter, r *http.Request, in *workspaceSymbolsIn) error {
	k, err := h.key(in.Language, in.Project)
	if err != nil {
		return err
	}
	var out []toolbox.LSPSymbol
	cut := false
	ctx := r.Context()
	err = h.with(ctx, k, "", func(p *process) error {
		if !p.can.WorkspaceSymbol && p.can.DocumentSymbol {
			out, cut, err = h.search(ctx, p, k, in.Query)
			return err
		}
		var raw json.RawMessage
		if raw, err = p.ask(ctx, "workspace/symbol", map[string]any{"query": in.Query}); err == nil {
			out, err = symbols(raw, "")
		}
		return err
	})
	if err != nil {
		return err
	}
	if cut {
		w.Header().Set("X-Dugout-Truncated", "true")
	}
	h.Edge.Write(w, http.StatusOK, out)
	return nil
}
