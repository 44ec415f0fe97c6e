package dugout

import (
	"context"
	"net/url"

	"github.com/dugout-dev/dugout/api/toolbox"
)

// LanguageServer is a language server of a sandbox for one project, see [Sandbox.LanguageServer]. Paths of documents that are
// relative start at the project. Lines and characters count from 0, characters in UTF-16 code units.
type LanguageServer struct {
	sandbox           *Sandbox
	language, project string
}

// LanguageServer names the server of a language (python, typescript, javascript, go, rust, …) for the project in a directory.
// It makes no request: [LanguageServer.Start] starts it.
func (s *Sandbox) LanguageServer(language, project string) *LanguageServer {
	return &LanguageServer{sandbox: s, language: language, project: project}
}

func (l *LanguageServer) post(ctx context.Context, operation string, body, out any) error {
	return l.sandbox.inside(ctx, request{method: "POST", url: "/lsp/" + operation, body: body}, out)
}

// Start starts the server, or does nothing when it is started. The program must be in the sandbox; if it is not, the
// error says which.
func (l *LanguageServer) Start(ctx context.Context) error {
	return l.post(ctx, "start", toolbox.LSPServer{LanguageID: l.language, PathToProject: l.project}, nil)
}

// Stop ends the server.
func (l *LanguageServer) Stop(ctx context.Context) error {
	return l.post(ctx, "stop", toolbox.LSPServer{LanguageID: l.language, PathToProject: l.project}, nil)
}

func (l *LanguageServer) document(path string) toolbox.LSPDocument {
	return toolbox.LSPDocument{LanguageID: l.language, PathToProject: l.project, URI: "file://" + path}
}

// Open lets the server look at a document. The other methods do it by themselves.
func (l *LanguageServer) Open(ctx context.Context, path string) error {
	return l.post(ctx, "did-open", l.document(path), nil)
}

// Close ends that.
func (l *LanguageServer) Close(ctx context.Context, path string) error {
	return l.post(ctx, "did-close", l.document(path), nil)
}

// Completions returns what could stand at a position of a document as it is on disk.
func (l *LanguageServer) Completions(ctx context.Context, path string, line, character int) (*toolbox.LSPCompletionList, error) {
	d := l.document(path)
	var out toolbox.LSPCompletionList
	err := l.post(ctx, "completions", toolbox.LSPCompletionParams{LanguageID: d.LanguageID, PathToProject: d.PathToProject, URI: d.URI,
		Position: toolbox.LSPCompletionPosition{Line: &line, Character: &character}}, &out)
	return &out, err
}

// Symbols returns the symbols of a document in one flat list, each before those inside it.
func (l *LanguageServer) Symbols(ctx context.Context, path string) ([]toolbox.LSPSymbol, error) {
	return l.symbols(ctx, "document-symbols", "uri", "file://"+path)
}

// Find returns the symbols of the project whose names the server takes for the query.
func (l *LanguageServer) Find(ctx context.Context, query string) ([]toolbox.LSPSymbol, error) {
	return l.symbols(ctx, "workspacesymbols", "query", query)
}

func (l *LanguageServer) symbols(ctx context.Context, operation, name, value string) (out []toolbox.LSPSymbol, err error) {
	q := url.Values{"languageId": {l.language}, "pathToProject": {l.project}, name: {value}}
	err = l.sandbox.inside(ctx, request{method: "GET", url: "/lsp/" + operation, query: q}, &out)
	return out, err
}
