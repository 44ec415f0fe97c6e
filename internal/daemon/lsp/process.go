//go:build linux

package lsp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/dugout-dev/dugout/internal/daemon/run"
	"github.com/dugout-dev/dugout/internal/errs"
)

// process is a running language server.
type process struct {
	*conn
	name     string
	child    *run.Child
	can      capabilities
	language language

	mu     sync.Mutex // guards stderr
	stderr []byte     // the end of what it wrote there

	gone chan struct{} // closed when the process and its goroutines are
}

// capabilities are what the server says it can do, as far as it matters here: a value that is there and not false.
type capabilities struct {
	Completion      capable `json:"completionProvider"`
	DocumentSymbol  capable `json:"documentSymbolProvider"`
	WorkspaceSymbol capable `json:"workspaceSymbolProvider"`
}

type capable bool

// UnmarshalJSON takes true and an object for yes.
func (c *capable) UnmarshalJSON(b []byte) error {
	*c = capable(string(b) != "false" && string(b) != "null")
	return nil
}

// maxStderr is how much of a server's last words is kept, in bytes.
const maxStderr = 2 << 10

// spawn starts the server of a project. It is not initialized yet.
func (h *Handler) spawn(l language, dir string) (*process, error) {
	path, argv, err := l.program(h.Env.Get("PATH"))
	if err != nil {
		return nil, err
	}
	var ours, theirs []*os.File
	defer func() {
		for _, f := range theirs {
			_ = f.Close()
		}
	}()
	files := make([]uintptr, 3)
	for i := range 3 {
		r, w, err := os.Pipe()
		if err != nil {
			for _, f := range ours {
				_ = f.Close()
			}
			return nil, err
		}
		if i == 0 {
			r, w = w, r
		}
		ours, theirs = append(ours, r), append(theirs, w)
		files[i] = w.Fd() // blocks from now on, as programs expect
	}
	p := &process{name: argv[0], language: l, gone: make(chan struct{})}
	p.conn = newConn(func(method string, params json.RawMessage) (any, *rpcError) { return answer(l, dir, method, params) })
	p.child, err = h.Runner.Spawn(path, argv, &syscall.ProcAttr{Dir: dir, Env: h.Env.List(nil), Files: files, Sys: &syscall.SysProcAttr{Setsid: true}})
	if err != nil {
		for _, f := range ours {
			_ = f.Close()
		}
		return nil, fault(err, path)
	}
	var readers, writer sync.WaitGroup
	read := make(chan struct{})
	writer.Go(func() { p.send(ours[0]) })
	readers.Go(func() { p.run(ours[1]) })
	readers.Go(func() { p.listen(ours[2]) })
	go func() { readers.Wait(); close(read) }()
	go func() {
		defer close(p.gone)
		select {
		case <-p.child.Done():
		case <-p.done: // it closed its output, talked nonsense, or was given up
		}
		p.child.KillTree()
		<-p.child.Done()
		grace := time.NewTimer(run.Grace)
		defer grace.Stop()
		select {
		case <-read:
		case <-grace.C: // something that outlived it has the other ends
		}
		p.end(io.EOF)
		for _, f := range ours {
			_ = f.Close()
		}
		<-read
		writer.Wait()
	}()
	return p, nil
}

// listen keeps the end of what the server writes to its standard error.
func (p *process) listen(r io.Reader) {
	buf := make([]byte, 4<<10)
	for {
		n, err := r.Read(buf)
		if n > 0 {
			p.mu.Lock()
			p.stderr = append(p.stderr, buf[:n]...)
			if over := len(p.stderr) - maxStderr; over > 0 {
				p.stderr = append(p.stderr[:0], p.stderr[over:]...)
			}
			p.mu.Unlock()
		}
		if err != nil {
			return
		}
	}
}

func (p *process) lastWords() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.ToValidUTF8(string(bytes.TrimSpace(p.stderr)), "�")
}

func ending(ws syscall.WaitStatus) string {
	if ws.Signaled() {
		return fmt.Sprintf("it was ended by the signal %s", ws.Signal())
	}
	return fmt.Sprintf("it ended with exit code %d", ws.ExitStatus())
}

// alive reports whether the server still answers, as far as is known.
func (p *process) alive() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// initialize shakes hands.
func (p *process) initialize(ctx context.Context, dir string) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	params := map[string]any{
		"processId":  nil, // a server that is told one looks every few seconds whether it lives
		"clientInfo": map[string]any{"name": "dugoutd"},
		"rootPath":   dir, "rootUri": uriOf(dir), "workspaceFolders": folders(dir),
		"capabilities": clientCapabilities, "trace": "off",
	}
	if len(p.language.Options) > 0 {
		params["initializationOptions"] = p.language.Options
	}
	raw, err := p.call(ctx, "initialize", params)
	if err != nil {
		return p.failed(err, "could not be started")
	}
	var out struct {
		Capabilities capabilities `json:"capabilities"`
	}
	if json.Unmarshal(raw, &out) != nil {
		return p.failed(errFrame, "could not be started")
	}
	p.can = out.Capabilities
	_ = p.notify("initialized", map[string]any{})
	if len(p.language.Settings) > 0 {
		_ = p.notify("workspace/didChangeConfiguration", map[string]any{"settings": p.language.Settings})
	}
	return nil
}

// failed turns an error of call into one for the client.
func (p *process) failed(err error, what string) error {
	var re *rpcError
	switch {
	case errors.As(err, &re) && re.Code == codeInvalidParams:
		return errs.Wrap(err, errs.Invalid, "the language server %s refused: %s", p.name, clip(re.Message))
	case errors.As(err, &re) && re.Code == codeMethodNotFound:
		return errs.Wrap(err, errs.Unimplemented, "the language server %s cannot do this", p.name)
	case errors.As(err, &re):
		return errs.Wrap(err, errs.Internal, "the language server %s %s: %s", p.name, what, clip(re.Message)).WithCode(codeFailed)
	case errors.Is(err, context.DeadlineExceeded):
		return errs.Wrap(err, errs.Timeout, "the language server %s did not answer in time", p.name)
	case !errors.Is(err, errEnded):
		if _, ok := errs.As(err); ok || errors.Is(err, context.Canceled) {
			return err
		}
		return errs.Wrap(err, errs.Internal, "the language server %s %s: it answered what cannot be read", p.name, what).WithCode(codeFailed)
	}
	<-p.gone // it is being ended: then all it said is here
	msg := fmt.Sprintf("the language server %s %s", p.name, what)
	if why := p.reason(); why == nil || errors.Is(why, io.EOF) || errors.Is(why, syscall.EPIPE) {
		msg += ": " + ending(p.child.Status())
	} else {
		msg += ": " + clip(why.Error())
	}
	if said := p.lastWords(); said != "" {
		msg += "; the last it wrote:\n" + said
	}
	return errs.Wrap(err, errs.Internal, "%s", msg).WithCode(codeFailed)
}

// ask makes a request, and again when the server says that it was busy with changes.
func (p *process) ask(ctx context.Context, method string, params any) (json.RawMessage, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		raw, err := p.call(ctx, method, params)
		var re *rpcError
		if !errors.As(err, &re) || re.Code != codeContentModified && re.Code != codeServerCancelled {
			return raw, err
		}
		t := time.NewTimer(pause)
		select {
		case <-t.C:
		case <-p.done:
			t.Stop()
			return nil, errEnded
		case <-ctx.Done():
			t.Stop()
			return nil, ctx.Err()
		}
	}
}

// stop asks the server to end, and ends it when it does not. It returns when it is gone.
//
//nolint:contextcheck // a server is ended whether or not its client is still there
func (p *process) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), stopGrace)
	defer cancel()
	if _, err := p.call(ctx, "shutdown", nil); err == nil {
		_ = p.notify("exit", nil)
		select {
		case <-p.gone:
			return
		case <-ctx.Done():
		}
	}
	p.kill()
}

// kill ends the server and returns when it is gone.
func (p *process) kill() {
	p.end(errors.New("it was stopped"))
	<-p.gone
}
