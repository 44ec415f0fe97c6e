//go:build linux

package process

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/dugout-dev/dugout/api"
	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/daemon/caller"
	"github.com/dugout-dev/dugout/internal/daemon/run"
	"github.com/dugout-dev/dugout/internal/rest"
)

// asker is what the answer needs to know of the request.
type asker struct {
	Path      string `json:"path"`
	Method    string `json:"method"`
	RequestID string `json:"requestId"`
	Strict    bool   `json:"strict,omitempty"` // rejects fields that it does not know
}

func askerOf(r *http.Request) asker {
	return asker{Path: r.URL.Path, Method: r.Method, RequestID: rest.RequestID(r.Context()), Strict: caller.Of(r).Strict()}
}

// answer waits for ex and sends its outcome.
func (h *Handler) answer(w http.ResponseWriter, r *http.Request, ex *execution) error {
	closing, leave := h.desk.Enter()
	defer leave()
	select {
	case <-ex.done:
	case <-r.Context().Done(): // the client left; the work goes on
		ex.release()
		return nil
	case <-closing:
		return h.park(w, r, ex)
	}
	defer ex.release()
	status, head, tail, err := outcome(askerOf(r), ex)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", jsonType)
	w.WriteHeader(status)
	return writeJSON(w, head, ex, tail)
}

const jsonType = "application/json; charset=utf-8"

// outcome returns the status of the answer about an ended execution, and what comes before and after its output.
func outcome(to asker, ex *execution) (status int, head string, tail func(io.Writer) error, err error) {
	if ex.timedOut {
		head, err = timeoutHead(to, ex)
		return http.StatusRequestTimeout, head, func(w io.Writer) error { return ending(w, ex, to.Strict) }, err
	}
	return http.StatusOK, fmt.Sprintf(`{"exitCode":%d,"result":`, ex.exit), func(w io.Writer) error { return ending(w, ex, to.Strict) }, nil
}

// excerpt is how much of the output the message of a timeout repeats, in bytes.
const excerpt = 2 << 10

func timeoutHead(to asker, ex *execution) (string, error) {
	msg := fmt.Sprintf("the command ran into its timeout of %d seconds and was killed with all its processes", int64(ex.timeout/time.Second))
	switch size := ex.out.Size(); {
	case size > excerpt:
		msg += fmt.Sprintf("; the last %d of %d bytes of its output:\n", excerpt, size) + ex.out.Tail(excerpt)
	case size > 0:
		msg += "; its output until then:\n" + ex.out.Tail(excerpt)
	}
	head, err := json.Marshal(api.Error{Path: to.Path, Timestamp: time.Now().UTC().Format("2006-01-02T15:04:05.000Z"), StatusCode: http.StatusRequestTimeout,
		Reason: msg, Message: msg, Code: "PROCESS_EXECUTION_TIMEOUT", Source: api.SourceDaemon, Method: to.Method, RequestID: to.RequestID})
	return string(bytes.TrimSuffix(head, []byte("}"))) + `,"result":`, err
}

// writeJSON sends an object that begins with head, goes on with the output of ex and ends with tail. The output is not copied.
func writeJSON(w io.Writer, head string, ex *execution, tail func(io.Writer) error) error {
	if _, err := io.WriteString(w, head); err != nil {
		return err
	}
	if err := ex.out.WriteJSON(w); err != nil {
		return err
	}
	return tail(w)
}

// ending writes the rest of the object: the streams apart, and charts.
func ending(w io.Writer, ex *execution, strict bool) error {
	if ex.split && !strict {
		for name, s := range map[string]run.Stream{"stdout": run.Stdout, "stderr": run.Stderr} {
			if _, err := io.WriteString(w, `,"`+name+`":`); err != nil {
				return err
			}
			if err := ex.out.WriteJSON(w, s); err != nil {
				return err
			}
		}
	}
	var end []byte
	if len(ex.charts) > 0 {
		b, err := json.Marshal(toolbox.Artifacts{Charts: ex.charts})
		if err != nil {
			return err
		}
		end = append([]byte(`,"artifacts":`), b...)
	}
	_, err := w.Write(append(end, '}'))
	return err
}

type executionIn struct {
	ID   string `path:"id" doc:"Id given with the request."`
	Wait int    `query:"wait" minimum:"0" maximum:"60" doc:"Seconds to wait for the end."`
}

func (h *Handler) execution(w http.ResponseWriter, r *http.Request, in *executionIn) error {
	ex, err := h.kept.find(in.ID)
	if err != nil {
		return err
	}
	defer ex.release()
	if in.Wait > 0 {
		ctx, cancel := context.WithTimeout(r.Context(), time.Duration(in.Wait)*time.Second)
		defer cancel()
		closing, leave := h.desk.Enter()
		select {
		case <-ex.done:
		case <-ctx.Done():
		case <-closing: // it is asked again
		}
		leave()
	}
	if !ex.ended() {
		h.Edge.Write(w, http.StatusOK, toolbox.Execution{ID: ex.id, Running: true})
		return nil
	}
	head := `{"id":"` + ex.id + `","running":false,`
	if ex.timedOut {
		head += `"timedOut":true,`
	}
	if ex.signal != 0 {
		head += `"signal":"` + signalName(ex.signal) + `",`
	}
	w.Header().Set("Content-Type", jsonType)
	w.WriteHeader(http.StatusOK)
	strict := caller.Of(r).Strict()
	return writeJSON(w, head+`"exitCode":`+strconv.Itoa(ex.exit)+`,"result":`, ex, func(w io.Writer) error { return ending(w, ex, strict) })
}
