package dugout

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/coder/websocket"

	"github.com/dugout-dev/dugout/api/toolbox"
)

// StreamResult is what came of a command whose output was streamed.
type StreamResult struct {
	ExitCode int
	Signal   string // name of the signal that killed the shell, as KILL; "": none did
	TimedOut bool
	Bytes    int64 // that it wrote, both streams together
	Lost     int64 // of these, that were not kept until they could be read: see Stream
}

// maxEvent bounds one event of a stream, in bytes: 32 KiB of output, escaped.
const maxEvent = 1 << 20

// Stream runs command and writes what it writes to stdout and stderr as it comes. Either may be nil: it is dropped. It returns when the
// command has ended; a timeout is no error here.
//
// A connection that breaks is made again, where it broke, for half a minute. The command waits for the reader when it is far
// ahead of him, up to 10 s; only then can output be lost, and Lost says how much. When ctx ends, Stream returns and the command goes
// on; [Sandbox.Kill] ends it.
func (s *Sandbox) Stream(ctx context.Context, command string, opts ExecOptions, stdout, stderr io.Writer) (*StreamResult, error) {
	body, err := opts.body(command)
	if err != nil {
		return nil, err
	}
	if opts.ID == "" {
		opts.ID = randomID()
	}
	st := &stream{out: stdout, err: stderr}
	deadline := time.Time{}
	for pause := 20 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		q := request{method: "POST", url: "/process/execute/stream", body: body, header: http.Header{toolbox.ExecutionIDHeader: {opts.ID}, "Accept": {"text/event-stream"}}}
		if st.began {
			q.header.Set("Last-Event-ID", strconv.FormatInt(st.at, 10))
		}
		before := st.at
		err := s.readEvents(ctx, q, st)
		switch {
		case err == nil:
			return &st.result, nil
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case searchWindow(err) == 0 || !st.began && neverSent(err):
			return nil, err
		}
		if st.at > before || deadline.IsZero() {
			deadline = time.Now().Add(searchWindow(err))
			pause = 20 * time.Millisecond
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("%w, run %s: %w", ErrLost, opts.ID, err)
		}
		if sleep(ctx, pause) != nil {
			return nil, ctx.Err()
		}
	}
}

// stream is how far a command's output was read.
type stream struct {
	out, err io.Writer
	began    bool
	at       int64
	result   StreamResult
}

// errWriter is an error of the caller's writer.
type errWriter struct{ error }

// readEvents reads one answer to its end. nil: the command has ended.
func (s *Sandbox) readEvents(ctx context.Context, q request, st *stream) error {
	resp, err := s.open(ctx, q)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	st.began = true
	sc := bufio.NewScanner(resp.Body)
	sc.Buffer(make([]byte, 0, 64<<10), maxEvent)
	var name string
	var data []byte
	for sc.Scan() {
		key, value, _ := bytes.Cut(sc.Bytes(), []byte(": "))
		switch string(key) {
		case "event":
			name = string(value)
		case "data":
			data = append(data[:0], value...)
		case "":
			if name == "" {
				continue // the end of a comment
			}
			done, err := st.take(name, data)
			if done || err != nil {
				return err
			}
			name = ""
		}
	}
	err = sc.Err()
	if err == nil {
		err = io.ErrUnexpectedEOF
	}
	return &connectionError{op: "the stream broke off", cause: err}
}

// take handles one event and reports whether it was the last.
func (st *stream) take(name string, data []byte) (done bool, err error) {
	switch name {
	case toolbox.EventStdout, toolbox.EventStderr:
		var out toolbox.StreamOutput
		if err := json.Unmarshal(data, &out); err != nil {
			return false, fmt.Errorf("read an event: %w", err)
		}
		w := st.out
		if name == toolbox.EventStderr {
			w = st.err
		}
		b := append([]byte(out.Text), out.Data...)
		st.at = out.Offset + int64(len(b))
		if w != nil {
			if _, err := w.Write(b); err != nil {
				return false, errWriter{err}
			}
		}
	case toolbox.EventGap:
		var gap toolbox.StreamGap
		if err := json.Unmarshal(data, &gap); err != nil {
			return false, fmt.Errorf("read an event: %w", err)
		}
		st.at = gap.Offset + gap.Length
		st.result.Lost += gap.Length
	case toolbox.EventExit:
		var exit toolbox.StreamExit
		if err := json.Unmarshal(data, &exit); err != nil {
			return false, fmt.Errorf("read an event: %w", err)
		}
		st.result.ExitCode, st.result.Signal, st.result.TimedOut, st.result.Bytes = exit.ExitCode, exit.Signal, exit.TimedOut, exit.Offset
		return true, nil
	}
	return false, nil
}

// Output copies to w what a run has written until now, from the byte at offset on. With follow it goes on until the run ends.
// The run must have an ID. It returns the offset of the first byte that was copied: later than asked, when the beginning is not kept any
// more.
func (s *Sandbox) Output(ctx context.Context, id string, offset int64, follow bool, w io.Writer) (int64, error) {
	if !plain(id) {
		return 0, fmt.Errorf("a run's id has 1 to 64 letters, digits, _ and -, got %q", clip(id))
	}
	resp, err := s.open(ctx, request{method: "GET", url: "/process/execution/" + id + "/output",
		query: map[string][]string{"offset": {strconv.FormatInt(offset, 10)}, "follow": {strconv.FormatBool(follow)}}})
	if err != nil {
		return 0, err
	}
	defer func() { _ = resp.Body.Close() }()
	from, err := strconv.ParseInt(resp.Header.Get("X-Dugout-Offset"), 10, 64)
	if err != nil {
		return 0, errors.New("the answer does not tell where the output begins")
	}
	if _, err := io.Copy(w, resp.Body); err != nil {
		return from, &connectionError{op: "the output broke off", cause: err}
	}
	return from, nil
}

// Attached is a connection to a run: its output, and its standard input where that is open.
type Attached struct {
	c *websocket.Conn
}

// Attach connects to a run, from the byte at offset of its output on. Standard input is open when the run was started with OpenStdin.
// The caller must close what it gets.
func (s *Sandbox) Attach(ctx context.Context, id string, offset int64) (*Attached, error) {
	if !plain(id) {
		return nil, fmt.Errorf("a run's id has 1 to 64 letters, digits, _ and -, got %q", clip(id))
	}
	c, err := s.dial(ctx, "/process/execution/"+id+"/connect", map[string][]string{"offset": {strconv.FormatInt(offset, 10)}})
	if err != nil {
		return nil, err
	}
	c.SetReadLimit(maxEvent)
	return &Attached{c: c}, nil
}

// Next returns the next piece of output. After the last one it returns what came of the run, and no piece. The slices are the
// caller's. One goroutine may call Next while another writes.
func (a *Attached) Next(ctx context.Context) (stdout, stderr []byte, end *StreamResult, err error) {
	for {
		typ, b, err := a.c.Read(ctx)
		if err != nil {
			return nil, nil, nil, &connectionError{op: "the connection to the run broke", cause: err}
		}
		if typ == websocket.MessageBinary && len(b) > 0 {
			if b[0] == 2 {
				return nil, b[1:], nil, nil
			}
			return b[1:], nil, nil, nil
		}
		var m toolbox.ConnectMessage
		if json.Unmarshal(b, &m) != nil || m.Type != toolbox.EventExit || m.ExitCode == nil {
			continue
		}
		return nil, nil, &StreamResult{ExitCode: *m.ExitCode, Signal: m.Signal, TimedOut: m.TimedOut, Bytes: m.Offset}, nil
	}
}

// Write sends p to the run's standard input. When the program does not read, it waits.
func (a *Attached) Write(ctx context.Context, p []byte) error {
	for len(p) > 0 {
		n := min(len(p), 256<<10)
		if err := a.c.Write(ctx, websocket.MessageBinary, p[:n]); err != nil {
			return &connectionError{op: "the connection to the run broke", cause: err}
		}
		p = p[n:]
	}
	return nil
}

// CloseStdin ends the run's standard input.
func (a *Attached) CloseStdin(ctx context.Context) error {
	return a.c.Write(ctx, websocket.MessageText, []byte(`{"type":"eof"}`))
}

// Close ends the connection; the run goes on.
func (a *Attached) Close() error { return a.c.Close(websocket.StatusNormalClosure, "") }

// Kill sends a signal, named as in HUP, INT, TERM or KILL, to all processes of a run that was given an ID in its options. A
// run that has ended, or that is not known, is a success.
func (s *Sandbox) Kill(ctx context.Context, id, signal string) error {
	if !plain(id) || !plain(signal) {
		return fmt.Errorf("a run's id and a signal's name consist of letters, digits, _ and -, got %q and %q", id, signal)
	}
	err := s.inside(ctx, request{method: "POST", url: "/process/execution/" + id + "/signal", body: toolbox.Signal{Signal: strings.ToUpper(signal)}}, nil)
	if errors.Is(err, ErrNotFound) || errors.Is(err, ErrGone) {
		return nil
	}
	return err
}
