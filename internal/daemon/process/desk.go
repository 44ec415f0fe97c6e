//go:build linux

package process

import (
	"net/http"

	"github.com/dugout-dev/dugout/internal/daemon/desk"
)

// waiting is what a request that waits for the end of an execution is to get.
type waiting struct {
	ex *execution // held
	to asker
}

// park takes the connection of a request out of the server. The execution's reference goes with it.
func (h *Handler) park(w http.ResponseWriter, r *http.Request, ex *execution) error {
	err := h.desk.Park(w, waiting{ex, askerOf(r)})
	if err != nil {
		ex.release()
	}
	return err
}

// attend answers parked connections when their executions end.
func (h *Handler) attend(list []*desk.Parked[waiting]) {
	for _, p := range list {
		h.works.Go(func() {
			closing, leave := h.desk.Enter()
			defer leave()
			ex := p.What.ex
			select {
			case <-ex.done:
			case <-closing:
				return // it stays parked
			}
			err := h.desk.Answer(p, func(w *desk.Writer) error {
				status, head, tail, err := outcome(p.What.to, ex)
				if err != nil {
					return err
				}
				w.Header().Set("Content-Type", jsonType)
				w.WriteHeader(status)
				return writeJSON(w, head, ex, tail)
			})
			if err != nil {
				h.Log.Debug("an answer could not be sent", "error", err)
			}
			ex.release()
		})
	}
}
