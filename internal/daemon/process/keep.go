//go:build linux

package process

import (
	"context"
	"encoding/hex"
	"net/http"
	"syscall"
	"time"

	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/daemon/desk"
	"github.com/dugout-dev/dugout/internal/daemon/handover"
	"github.com/dugout-dev/dugout/internal/daemon/run"
)

// family names the state of this package in a handover.
const family = "process"

type stateOfAll struct {
	Executions []stateOfOne   `json:"executions"` // that ended: oldest first
	Gone       map[string]int `json:"gone,omitempty"`
	Order      []string       `json:"order,omitempty"`
}

type stateOfOne struct {
	ID      string           `json:"id,omitempty"`
	Sum     string           `json:"sum"`
	Started int64            `json:"started"` // ns since 1970
	Timeout int64            `json:"timeout,omitempty"`
	Split   bool             `json:"split,omitempty"`
	Output  run.OutputState  `json:"output"`
	Command *toolbox.Execute `json:"command,omitempty"`
	Parked  []stateOfParked  `json:"parked,omitempty"`

	Live  bool          `json:"live,omitempty"`
	Run   *run.RunState `json:"run,omitempty"`   // live; nil: its program was not started
	Input int           `json:"input,omitempty"` // live; 0: there is none

	EndedAt  int64           `json:"endedAt,omitempty"`
	Exit     int             `json:"exit,omitempty"`
	Signal   int             `json:"signal,omitempty"`
	TimedOut bool            `json:"timedOut,omitempty"`
	Charts   []toolbox.Chart `json:"charts,omitempty"`
	Cost     int64           `json:"chartCost,omitempty"`
}

type stateOfParked struct {
	Conn   int         `json:"conn"`
	Asker  asker       `json:"asker"`
	Header http.Header `json:"header"`
}

// Pending returns how many executions could not be handed over now: programs of code-run.
func (h *Handler) Pending() int {
	n := 0
	for _, ex := range h.live.list() {
		if ex.command == nil {
			n++
		}
	}
	return n
}

// Freeze implements [handover.Keeper].
func (h *Handler) Freeze() {
	h.desk.Freeze()
	for _, ex := range h.live.list() {
		ex.out.Hurry(true)
	}
}

// Thaw implements [handover.Keeper].
func (h *Handler) Thaw() {
	for _, ex := range h.live.list() {
		ex.out.Hurry(false)
	}
	h.attend(h.desk.Thaw())
}

// Save implements [handover.Keeper]. The runner is frozen too.
func (h *Handler) Save(out *handover.Out) error {
	h.ending.Lock()
	defer h.ending.Unlock()
	h.kept.mu.Lock()
	defer h.kept.mu.Unlock()
	all := stateOfAll{Gone: h.kept.gone, Order: h.kept.order}
	seen := map[*execution]bool{}
	for i, ex := range h.kept.ended {
		st, err := h.save(out, ex)
		if err != nil {
			return err
		}
		st.EndedAt = h.kept.at[i].UnixNano()
		all.Executions = append(all.Executions, st)
		seen[ex] = true
	}
	rest := h.live.list()
	for _, p := range h.desk.Parked() {
		if p.What.ex.ended() {
			rest = append(rest, p.What.ex)
		}
	}
	for _, ex := range rest {
		if seen[ex] {
			continue
		}
		seen[ex] = true
		st, err := h.save(out, ex)
		if err != nil {
			return err
		}
		all.Executions = append(all.Executions, st)
	}
	return out.Put(family, all)
}

// save hands one execution over. The caller holds ending and kept.mu.
func (h *Handler) save(out *handover.Out, ex *execution) (st stateOfOne, err error) {
	st = stateOfOne{ID: ex.id, Sum: hex.EncodeToString(ex.sum[:]), Started: ex.started.UnixNano(), Timeout: int64(ex.timeout), Split: ex.split, Command: ex.command}
	if st.Output, err = ex.out.Save(out); err != nil {
		return st, err
	}
	for _, p := range h.desk.Parked() {
		if p.What.ex != ex {
			continue
		}
		fd, err := p.Pass(out)
		if err != nil {
			return st, err
		}
		st.Parked = append(st.Parked, stateOfParked{Conn: fd, Asker: p.What.to, Header: p.Header})
	}
	if ex.ended() {
		st.Exit, st.Signal, st.TimedOut, st.Charts, st.Cost = ex.exit, int(ex.signal), ex.timedOut, ex.charts, ex.chartCost
		return st, nil
	}
	if ex.command == nil {
		st.Exit = -1 // lost: see Pending
		return st, nil
	}
	st.Live = true
	r := ex.run.Load()
	if r == nil { // whoever starts the program waits for the runner, which is frozen
		return st, nil
	}
	rs, err := h.Runner.SaveRun(out, r)
	if err != nil {
		return st, err
	}
	st.Run = &rs
	if ex.input.over != nil && ex.input.mu.TryLock() {
		defer ex.input.mu.Unlock()
		if ex.input.f != nil {
			if st.Input, err = out.Pass(ex.input.f); err != nil {
				return st, err
			}
		}
	}
	return st, nil
}

// Restore implements [handover.Keeper].
func (h *Handler) Restore(in *handover.In) error {
	var all stateOfAll
	if ok, err := in.Get(family, &all); err != nil || !ok {
		return err
	}
	h.kept.mu.Lock()
	h.kept.byID, h.kept.gone, h.kept.order = map[string]*execution{}, all.Gone, all.Order
	if h.kept.gone == nil {
		h.kept.gone = map[string]int{}
	}
	h.kept.mu.Unlock()
	var parked []*desk.Parked[waiting]
	for _, st := range all.Executions {
		list, err := h.restore(in, st)
		if err != nil { // the others are not to suffer from it
			h.Log.Error("an execution could not be taken over", "execution", st.ID, "error", err)
		}
		parked = append(parked, list...)
	}
	h.attend(parked)
	return nil
}

func (h *Handler) restore(in *handover.In, st stateOfOne) ([]*desk.Parked[waiting], error) {
	ex := &execution{id: st.ID, started: time.Unix(0, st.Started), timeout: time.Duration(st.Timeout), split: st.Split, command: st.Command,
		done: make(chan struct{}), exit: st.Exit, signal: syscall.Signal(st.Signal), timedOut: st.TimedOut, charts: st.Charts, chartCost: st.Cost}
	ex.refs.Store(1)
	var failed error
	if _, err := hex.Decode(ex.sum[:], []byte(st.Sum)); err != nil {
		failed = err
	}
	var err error
	if ex.out, err = run.RestoreOutput(in, h.Runner.Budget, st.Output); err != nil {
		ex.out, failed = run.NewOutput(h.Runner.Budget, run.MaxOutput), err
	}
	var parked []*desk.Parked[waiting]
	for _, p := range st.Parked {
		pk, err := h.desk.Take(in, p.Conn, waiting{ex, p.Asker}, p.Header)
		if err != nil {
			failed = err
			continue
		}
		ex.hold()
		parked = append(parked, pk)
	}
	if !st.Live {
		ex.out.Seal()
		at := time.Now()
		if st.EndedAt != 0 {
			at = time.Unix(0, st.EndedAt)
		}
		h.kept.put(ex, at)
		close(ex.done)
		ex.release()
		return parked, failed
	}
	h.live.add(ex)
	if ex.id != "" {
		h.kept.mu.Lock()
		h.kept.byID[ex.id] = ex
		h.kept.mu.Unlock()
	}
	if st.Input > 0 {
		f, err := in.Take(st.Input, "stdin")
		if err != nil {
			failed = err
		} else {
			ex.input.f, ex.input.over = f, make(chan struct{})
		}
	}
	work, err := h.resume(in, st, ex)
	if err != nil {
		failed = err
		work = func() { ex.fail(-1, "%v\n", err) }
	}
	h.launch(ex, work)
	return parked, failed
}

// resume returns how ex goes on.
func (h *Handler) resume(in *handover.In, st stateOfOne, ex *execution) (func(), error) {
	if st.Run == nil { // it was not begun
		if ex.command.OpenStdin && ex.input.over == nil {
			if err := ex.input.open(); err != nil {
				return nil, err
			}
		}
		return func() {
			who, err := h.identity(context.Background(), ex.command.User)
			if err != nil {
				ex.fail(-1, "%v\n", err)
				return
			}
			h.perform(ex, who)
		}, nil
	}
	r, err := h.Runner.RestoreRun(in, *st.Run, ex.writers()...)
	if err != nil {
		return nil, err
	}
	ex.run.Store(r)
	return func() { ex.await(r) }, nil
}

var _ handover.Keeper = (*Handler)(nil)
