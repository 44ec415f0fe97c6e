//go:build linux

package lsp

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/dugout-dev/dugout/internal/daemon/shell"
	"github.com/dugout-dev/dugout/internal/errs"
)

// ConfigPath is where an image may name more language servers, or others for known languages:
//
//	{"servers": {"zig": {"command": ["zls"], "extensions": {".zig": "zig"}, "initializationOptions": {}, "settings": {}}}}
//
// The key is the language id of requests. extensions gives the protocol's language id for documents by the end of their
// names, where it is another than the key. The other two go to the server as they are. The file is read at each start.
const ConfigPath = "/etc/dugout/lsp.json"

// maxConfig is the size of the configuration file in bytes.
const maxConfig = 256 << 10

// language says which server serves a language.
type language struct {
	Command    []string          `json:"command"`
	Extensions map[string]string `json:"extensions"`
	Options    json.RawMessage   `json:"initializationOptions"`
	Settings   json.RawMessage   `json:"settings"`

	or      [][]string // further commands that will do
	install string     // how to get it
}

var (
	typeScript = language{Command: []string{"typescript-language-server", "--stdio"}, install: "npm install -g typescript@6 typescript-language-server",
		Extensions: map[string]string{".ts": "typescript", ".mts": "typescript", ".cts": "typescript", ".tsx": "typescriptreact", ".js": "javascript", ".mjs": "javascript", ".cjs": "javascript", ".jsx": "javascriptreact"},
		// Left to itself it would download type declarations in the background, and keep a second tsserver of 190 MB.
		Options: json.RawMessage(`{"disableAutomaticTypingAcquisition":true,"tsserver":{"useSyntaxServer":"never"}}`)}
	clangd = language{Command: []string{"clangd"}, install: "apt-get install clangd", Extensions: map[string]string{".c": "c", ".cc": "cpp", ".cpp": "cpp", ".cxx": "cpp", ".hpp": "cpp", ".h": "cpp"}}
)

// languages is what is known without a configuration file.
var languages = map[string]language{
	"python": {Command: []string{"pylsp"}, or: [][]string{{"basedpyright-langserver", "--stdio"}, {"pyright-langserver", "--stdio"}}, install: "pip install python-lsp-server",
		Extensions: map[string]string{".py": "python", ".pyi": "python"}},
	"typescript": typeScript,
	"javascript": typeScript,
	"go": {Command: []string{"gopls"}, install: "go install golang.org/x/tools/gopls@latest",
		Extensions: map[string]string{".go": "go", ".mod": "go.mod", ".work": "go.work", ".sum": "go.sum"}},
	"rust": {Command: []string{"rust-analyzer"}, install: "rustup component add rust-analyzer", Extensions: map[string]string{".rs": "rust"}},
	"c":    clangd,
	"cpp":  clangd,
	"ruby": {Command: []string{"ruby-lsp"}, or: [][]string{{"solargraph", "stdio"}}, install: "gem install ruby-lsp", Extensions: map[string]string{".rb": "ruby"}},
	"php":  {Command: []string{"intelephense", "--stdio"}, or: [][]string{{"phpactor", "language-server"}}, install: "npm install -g intelephense", Extensions: map[string]string{".php": "php"}},
	"java": {Command: []string{"jdtls"}, install: "see the Eclipse JDT language server", Extensions: map[string]string{".java": "java"}},
	"bash": {Command: []string{"bash-language-server", "start"}, install: "npm install -g bash-language-server",
		Extensions: map[string]string{".sh": "shellscript", ".bash": "shellscript"}},
}

// find returns what serves a language in this image. path is the configuration file; one that is not there says nothing.
func find(id, path string) (language, error) {
	known := maps.Clone(languages)
	more, err := configured(path)
	if err != nil {
		return language{}, err
	}
	maps.Copy(known, more)
	l, ok := known[id]
	if !ok {
		return language{}, errs.New(errs.Invalid, "languageId must be one of %s, or be named in %s; got %q",
			strings.Join(slices.Sorted(maps.Keys(known)), ", "), path, clip(id))
	}
	return l, nil
}

func configured(path string) (map[string]language, error) {
	st, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	bad := func(err error, what string) error {
		return errs.Wrap(err, errs.Invalid, "%s: %s", path, what).WithCode(codeConfig)
	}
	if err != nil {
		return nil, bad(err, "it cannot be read")
	}
	if !st.Mode().IsRegular() || st.Size() > maxConfig {
		return nil, bad(nil, "it must be a regular file of at most 256 KiB")
	}
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil, bad(err, "it cannot be read")
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, maxConfig))
	if err != nil {
		return nil, bad(err, "it cannot be read")
	}
	return parseConfig(b, path)
}

func parseConfig(b []byte, path string) (map[string]language, error) {
	var c struct {
		Servers map[string]language `json:"servers"`
	}
	if err := json.Unmarshal(b, &c); err != nil {
		return nil, errs.Wrap(err, errs.Invalid, "%s: %s", path, clip(err.Error())).WithCode(codeConfig)
	}
	for id, l := range c.Servers {
		if id == "" || len(l.Command) == 0 || l.Command[0] == "" || slices.ContainsFunc(l.Command, func(s string) bool { return strings.IndexByte(s, 0) >= 0 }) {
			return nil, errs.New(errs.Invalid, "%s: the server of %q must have a command: a program and its arguments", path, clip(id)).WithCode(codeConfig)
		}
	}
	return c.Servers, nil
}

// program returns the path of the server and its arguments, with its name.
func (l language) program(path string) (string, []string, error) {
	for _, c := range append([][]string{l.Command}, l.or...) {
		p := c[0]
		if !filepath.IsAbs(p) {
			p = shell.LookPath(p, path)
		}
		if p != "" && shell.Executable(p) {
			return p, c, nil
		}
	}
	msg := "the language server " + l.Command[0] + " is not in the sandbox's PATH"
	if l.install != "" {
		msg += "; install it first, for example with: " + l.install
	}
	return "", nil, errs.New(errs.Invalid, "%s", msg).WithCode(codeMissing)
}

// documentLanguage is the protocol's language id of a document.
func (l language) documentLanguage(id, path string) string {
	if d := l.Extensions[strings.ToLower(filepath.Ext(path))]; d != "" {
		return d
	}
	return id
}
