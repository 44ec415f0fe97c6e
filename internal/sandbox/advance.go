package sandbox

import (
	"strconv"
	"time"
)

// view is what a runner said about one sandbox. The zero value: it was not asked.
type view struct {
	asked   bool
	present bool
	seen    Seen
}

func found(s Seen) view { return view{asked: true, present: true, seen: s} }

var absent = view{asked: true}

func (v view) running() bool { return v.present && v.seen.Running }
func (v view) stopped() bool { return v.present && !v.seen.Running }
func (v view) missing() bool { return v.asked && !v.present }

// verb is what to do next about a sandbox.
type verb int

const (
	rest  verb = iota // nothing: asked and seen agree, or nobody can help
	write             // save the row in [step.next]
	put               // the others ask the runner
	start
	stop
	remove
)

type step struct {
	verb verb
	next Sandbox
}

// advance is the transition table, the only one: what to do about a row, given what its runner says. It is used by the calls
// of users, by the reconciler and for what runners report. Every verb may be repeated.
func advance(row Sandbox, v view, now time.Time) step {
	if row.State == Destroyed {
		return step{verb: rest}
	}
	if row.Desired == WantDestroyed {
		if row.RunnerID == "" || v.missing() {
			return step{write, destroyed(row)}
		}
		return step{verb: remove}
	}
	switch row.State {
	case Creating:
		if v.running() {
			return step{write, started(row, v.seen)}
		}
		return step{verb: put}
	case Starting:
		switch {
		case v.running():
			return step{write, started(row, v.seen)}
		case v.missing():
			return step{write, lost(row)}
		}
		return step{verb: start}
	case Stopping:
		switch {
		case v.stopped():
			return step{write, ended(row, row.StopReason, now)}
		case v.missing():
			return step{write, lost(row)}
		}
		return step{verb: stop}
	case Started:
		switch {
		case v.stopped():
			return step{write, ended(row, v.seen.Reason, now)}
		case v.missing():
			return step{write, lost(row)}
		}
	case Stopped:
		switch {
		case v.running(): // nobody asked for that
			return step{write, stopping(row, row.StopReason)}
		case v.missing():
			return step{write, lost(row)}
		}
	case Error: // a runner that came back with it heals it
		switch {
		case v.running() && row.Desired == WantStarted:
			return step{write, started(row, v.seen)}
		case v.running():
			return step{write, stopping(row, row.StopReason)}
		case v.stopped():
			return step{write, ended(row, v.seen.Reason, now)}
		}
	default: // this build stores no other state, or it was looked at above
	}
	return step{verb: rest}
}

// inTransition reports a row that [advance] has a verb for without a view.
func inTransition(row *Sandbox) bool {
	s := advance(*row, view{}, time.Time{})
	return s.verb != rest
}

func started(row Sandbox, seen Seen) Sandbox {
	row.State, row.Desired = Started, WantStarted
	row.ErrorReason, row.StopReason, row.Recoverable = "", "", false
	if seen.DaemonVersion != "" {
		row.DaemonVersion = clip(seen.DaemonVersion)
	}
	return row
}

func stopping(row Sandbox, why string) Sandbox {
	row.State, row.Desired, row.StopReason = Stopping, WantStopped, why
	row.ErrorReason, row.Recoverable = "", false
	return row
}

// ended is a sandbox that does not run any more. Ephemeral ones go.
func ended(row Sandbox, why string, now time.Time) Sandbox {
	if row.Ephemeral() {
		return doomed(row, now)
	}
	row.State, row.Desired, row.StopReason = Stopped, WantStopped, clip(why)
	row.ErrorReason, row.Recoverable = "", false
	return row
}

func lost(row Sandbox) Sandbox {
	return failed(row, "the sandbox is missing on its runner")
}

func failed(row Sandbox, why string) Sandbox {
	row.State, row.ErrorReason = Error, why
	return row
}

// doomed is a sandbox that somebody asked to destroy. It gives its name free at once.
func doomed(row Sandbox, now time.Time) Sandbox {
	if row.Desired != WantDestroyed {
		row.Name = "DESTROYED_" + row.Name + "_" + strconv.FormatInt(now.UnixMilli(), 10)
	}
	row.State, row.Desired = Destroying, WantDestroyed
	return row
}

func destroyed(row Sandbox) Sandbox {
	row.State, row.RunnerID = Destroyed, ""
	return row
}

// How long a sandbox may be on its way before it is given up, as on the 0.x wire.
const (
	startingFor = 5 * time.Minute
	stoppingFor = 5 * time.Minute
	creatingFor = 15 * time.Minute
)

// overdue returns the row as an error when it has been on its way for too long. Destroying never is.
func overdue(row Sandbox, now time.Time) (Sandbox, bool) {
	since := now.Sub(row.StateSince)
	if row.Desired == WantDestroyed {
		return row, false
	}
	switch {
	case row.State == Creating && since > creatingFor:
		return failed(row, "the sandbox could not be created within 15 minutes: its runner does not answer"), true
	case row.State == Starting && since > startingFor:
		return failed(row, "the sandbox could not be started within 5 minutes: its runner does not answer"), true
	case row.State == Stopping && since > stoppingFor:
		return failed(row, "the sandbox could not be stopped within 5 minutes: its runner does not answer"), true
	}
	return row, false
}
