//go:build linux

package process

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/dugout-dev/dugout/api"
	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/daemon/run"
	"github.com/dugout-dev/dugout/internal/errs"
	"github.com/dugout-dev/dugout/internal/rest"
)

// execution is one command or program, from its request to the last answer about it.
type execution struct {
	id      string // "": nobody can ask for it again
	sum     [32]byte
	started time.Time
	timeout time.Duration
	out     *run.Output
	done    chan struct{}
	refs    atomic.Int32

	// Set before done is closed.
	exit     int
	timedOut bool
	charts   []toolbox.Chart
}

func (h *Handler) newExecution(id string, timeout *uint32) *execution {
	ex := &execution{id: id, started: time.Now(), out: run.NewOutput(h.Runner.Budget, run.MaxOutput), done: make(chan struct{})}
	if timeout != nil {
		ex.timeout = time.Duration(*timeout) * time.Second
	}
	ex.refs.Store(1) // of the work itself
	return ex
}

// left is the time that remains until the timeout, 0: no timeout. An expired one is a nanosecond.
func (ex *execution) left() time.Duration {
	if ex.timeout == 0 {
		return 0
	}
	return max(ex.timeout-time.Since(ex.started), 1)
}

// fail ends the execution before or instead of a program.
func (ex *execution) fail(exit int, format string, args ...any) {
	ex.exit = exit
	_, _ = fmt.Fprintf(ex.out, format, args...)
}

// hold and release count who still needs the output; the last one gives its memory back.
func (ex *execution) hold() { ex.refs.Add(1) }
func (ex *execution) release() {
	if ex.refs.Add(-1) == 0 {
		ex.out.Release()
	}
}

// launch does the work of ex in its own goroutine, so that a client that leaves does not end it.
func (h *Handler) launch(ex *execution, work func()) {
	h.works.Add(1)
	go func() {
		defer h.works.Done()
		defer h.live.Add(-1)
		work()
		ex.out.Seal()
		h.kept.finish(ex)
		close(ex.done)
		ex.release()
	}()
}

// step runs one program of ex and waits for it.
func (h *Handler) step(ex *execution, spec run.Spec) {
	spec.Timeout = ex.left()
	r, err := h.Runner.Start(spec)
	if err != nil {
		ex.fail(-1, "%v\n", err)
		return
	}
	<-r.Done()
	ex.exit, ex.timedOut = r.ExitCode(), r.TimedOut()
}

// begin starts work under an id, or attaches to what runs or ran under it. The caller must release what it gets.
func (h *Handler) begin(id string, body any, timeout *uint32, work func(ex *execution)) (*execution, error) {
	if id != "" && !validID(id) {
		return nil, errs.New(errs.Invalid, "%s must be 1 to 64 characters of A-Z a-z 0-9 _ -", toolbox.ExecutionIDHeader)
	}
	ex := h.newExecution(id, timeout)
	ex.hold()
	if id != "" {
		ex.sum = sumOf(body)
		if other, err := h.kept.attach(ex); err != nil || other != nil {
			return other, err
		}
	}
	if h.live.Add(1) > maxLive {
		h.live.Add(-1)
		return nil, errs.New(errs.Busy, "%d executions are running already, the most at one time", maxLive)
	}
	if id != "" {
		if other, err := h.kept.claim(ex); err != nil || other != nil {
			h.live.Add(-1)
			return other, err
		}
	}
	h.launch(ex, func() { work(ex) })
	return ex, nil
}

// answer waits for ex and sends its outcome.
func (h *Handler) answer(w http.ResponseWriter, r *http.Request, ex *execution) error {
	defer ex.release()
	select {
	case <-ex.done:
	case <-r.Context().Done():
		return nil // the client left; the work goes on
	}
	if ex.timedOut {
		return h.answerTimeout(w, r, ex)
	}
	head := fmt.Sprintf(`{"exitCode":%d,"result":`, ex.exit)
	return writeJSON(w, http.StatusOK, head, ex)
}

// tail is how much of the output the message of a timeout repeats, in bytes.
const tail = 2 << 10

func (h *Handler) answerTimeout(w http.ResponseWriter, r *http.Request, ex *execution) error {
	msg := fmt.Sprintf("the command ran into its timeout of %d seconds and was killed with all its processes", int64(ex.timeout/time.Second))
	switch size := ex.out.Size(); {
	case size > tail:
		msg += fmt.Sprintf("; the last %d of %d bytes of its output:\n", tail, size) + ex.out.Tail(tail)
	case size > 0:
		msg += "; its output until then:\n" + ex.out.Tail(tail)
	}
	head, err := json.Marshal(api.Error{Path: r.URL.Path, Timestamp: time.Now().UTC().Format("2006-01-02T15:04:05.000Z"), StatusCode: http.StatusRequestTimeout,
		Reason: msg, Message: msg, Code: "PROCESS_EXECUTION_TIMEOUT", Source: api.SourceDaemon, Method: r.Method, RequestID: rest.RequestID(r.Context())})
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusRequestTimeout, string(bytes.TrimSuffix(head, []byte("}")))+`,"result":`, ex)
}

// writeJSON sends an object that begins with head and ends with the output and the charts of ex. The output is not copied.
func writeJSON(w http.ResponseWriter, status int, head string, ex *execution) error {
	var end []byte
	if len(ex.charts) > 0 {
		b, err := json.Marshal(toolbox.Artifacts{Charts: ex.charts})
		if err != nil {
			return err
		}
		end = append([]byte(`,"artifacts":`), b...)
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	if _, err := w.Write([]byte(head)); err != nil {
		return err
	}
	if err := ex.out.WriteJSON(w); err != nil {
		return err
	}
	_, err := w.Write(append(end, '}'))
	return err
}

func validID(s string) bool {
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '-' && c != '_' {
			return false
		}
	}
	return s != "" && len(s) <= 64
}
