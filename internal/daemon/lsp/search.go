//go:build linux

package lsp

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/dugout-dev/dugout/api/toolbox"
)

// Limits of a search of symbols file by file.
const (
	maxSearched     = 1000    // files
	maxSearchedFile = 1 << 20 // bytes of one; larger ones are left out, as they are generated as a rule
)

// passedOver are directories that have somebody else's sources, besides those whose names begin with a dot.
var passedOver = map[string]bool{"node_modules": true, "__pycache__": true, "venv": true, "env": true, "site-packages": true, "vendor": true, "target": true}

// search finds symbols of a project for a server that does not do it itself, pylsp for one: it asks for the symbols of each
// file and takes those that have query in their names, in whatever case. It reports whether files were left out because
// there were too many, or too little time.
func (h *Handler) search(ctx context.Context, proc *process, k key, query string) (out []toolbox.LSPSymbol, cut bool, err error) {
	h.mu.Lock()
	p := h.projects[k]
	h.mu.Unlock()
	if p == nil {
		return nil, false, errEnded
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	query = strings.ToLower(query)
	out = []toolbox.LSPSymbol{}
	files, cut := sources(ctx, k.path, proc.language)
	for _, path := range files {
		found, err := h.fileSymbols(ctx, proc, p, path)
		var re *rpcError
		switch {
		case errors.Is(err, context.DeadlineExceeded):
			return out, true, nil
		case errors.As(err, &re), errors.Is(err, errFrame): // of this file
			continue
		case err != nil:
			return nil, false, err
		}
		for _, s := range found {
			if strings.Contains(strings.ToLower(s.Name), query) {
				out = append(out, s)
			}
		}
	}
	return out, cut, nil
}

// fileSymbols asks for the symbols of one file, which is open for just that time if it was not before.
func (h *Handler) fileSymbols(ctx context.Context, proc *process, p *project, path string) ([]toolbox.LSPSymbol, error) {
	select {
	case <-p.turn: // nobody else opens or closes it meanwhile
		defer func() { p.turn <- struct{}{} }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if d := p.documents[path]; d == nil || d.in != proc {
		text, _, err := readDocument(path)
		if err != nil { // it is gone by now, or not for us to read
			return nil, nil
		}
		if err := proc.notify("textDocument/didOpen", map[string]any{"textDocument": map[string]any{
			"uri": uriOf(path), "languageId": proc.language.documentLanguage(p.language, path), "version": 1, "text": text}}); err != nil {
			return nil, err
		}
		defer func() {
			_ = proc.notify("textDocument/didClose", map[string]any{"textDocument": map[string]any{"uri": uriOf(path)}})
		}()
	}
	return documentSymbols(ctx, proc, path)
}

// sources lists the files of a language below dir, at most maxSearched, and reports whether there are more. Symbolic links are not followed.
func sources(ctx context.Context, dir string, l language) (files []string, more bool) {
	_ = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		switch {
		case ctx.Err() != nil:
			more = true
			return fs.SkipAll
		case err != nil:
			return nil
		case e.IsDir() && path != dir && (strings.HasPrefix(e.Name(), ".") || passedOver[e.Name()]):
			return fs.SkipDir
		case !e.Type().IsRegular() || l.Extensions[strings.ToLower(filepath.Ext(path))] == "":
			return nil
		}
		if st, err := os.Lstat(path); err != nil || st.Size() > maxSearchedFile {
			return nil
		}
		if len(files) >= maxSearched {
			more = true
			return fs.SkipAll
		}
		files = append(files, path)
		return nil
	})
	return files, more
}
