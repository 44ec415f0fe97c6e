//go:build linux

// Package process serves one-shot processes: commands for the shell, and programs in Python, JavaScript and TypeScript.
//
// A request that names itself with the header X-Dugout-Execution-Id can be repeated: while the execution runs the second
// request waits for the same one, after its end it gets the same result. The last 64 results are kept, together at most
// 16 MiB and each for 10 minutes; an id whose result is gone answers 410 with the exit code and is not run again.
//
// An execution that has an id can be read along by any number of clients, from any offset of its output, as events, as bytes or
// over a WebSocket; none of them ends it by leaving.
package process

import (
	"log/slog"
	"net/http"
	"sync"

	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/daemon/desk"
	"github.com/dugout-dev/dugout/internal/daemon/environ"
	"github.com/dugout-dev/dugout/internal/daemon/run"
	"github.com/dugout-dev/dugout/internal/daemon/zygote"
	"github.com/dugout-dev/dugout/internal/rest"
)

// maxBody limits the body of a request to run something, in bytes.
const maxBody = 32 << 20

// Handler serves the routes of this package.
type Handler struct {
	Log     *slog.Logger
	Runner  *run.Runner
	Env     *environ.Env
	Edge    *rest.Edge
	Workdir string // where commands run that name no directory
	TS      string // path of the TypeScript transpiler
	Python  *zygote.Pool

	works  sync.WaitGroup
	live   live
	kept   kept
	ending sync.RWMutex // held for reading while an execution ends, for writing while all are handed over
	desk   desk.Desk[waiting]
}

// Routes lists the operations. A nil handler will do for describing them.
func (h *Handler) Routes() []rest.Route {
	return []rest.Route{
		rest.Stream("POST", "/process/execute", "ExecuteCommand", h.execute, rest.Tag("process"), rest.MaxBody(maxBody), rest.Answers[toolbox.Executed](),
			rest.Summary("Run a shell command"),
			rest.Description("Standard input is empty unless the request gives one. When the timeout passes, the command and everything it started is killed, and the answer is 408 with the output until then. A background process that keeps the output open is not waited for longer than 200 ms; it lives on.")),
		rest.Stream("POST", "/process/execute/stream", "StreamCommand", h.stream, rest.Tag("process"), rest.MaxBody(maxBody), rest.Returns("text/event-stream"),
			rest.Summary("Run a shell command and follow its output as events"),
			rest.Description("Server-sent events: start, then stdout and stderr as the command writes, then timeout if it ran into its timeout, then exit. The id of an event is the offset after it: the same request again, with the same X-Dugout-Execution-Id and that number as Last-Event-ID, goes on there. A gap event tells of output that is not kept any more. A client that leaves does not end the command.")),
		rest.Stream("POST", "/process/code-run", "CodeRun", h.codeRun, rest.Tag("process"), rest.MaxBody(maxBody), rest.Answers[toolbox.CodeRan](),
			rest.Summary("Run a program"),
			rest.Description("Runs source text in Python, JavaScript or TypeScript. Charts that a Python program shows with matplotlib come as artifacts.")),
		rest.Stream("GET", "/process/execution/{id}", "GetExecution", h.execution, rest.Tag("process"), rest.Answers[toolbox.Execution](),
			rest.Summary("Get an execution by the id that its request gave it")),
		rest.Stream("GET", "/process/execution/{id}/output", "GetExecutionOutput", h.output, rest.Tag("process"), rest.Returns("application/octet-stream"),
			rest.Summary("Get or follow the output of an execution"),
			rest.Description("The bytes as they were written, both streams together, from an offset on: the header X-Dugout-Offset tells where they begin, which is later than asked when the beginning is not kept any more. With follow they go on until the execution ends, whose exit code is then in the trailer X-Dugout-Exit-Code. With Accept: text/event-stream the answer is the events of StreamCommand, and Last-Event-ID is the offset.")),
		rest.Stream("GET", "/process/execution/{id}/connect", "ConnectExecution", h.connect, rest.Tag("process"), rest.Status(http.StatusSwitchingProtocols),
			rest.Summary("Connect to an execution over a WebSocket"),
			rest.Description("From the daemon: a text message start; binary messages, whose first byte is the stream (1 or 2) and the rest output; a text message exit, then the connection is closed with 1000. From the client: binary messages are standard input, where the request said openStdin; text messages eof and signal. A client that takes nothing for long is closed with 1008 and can come back at the offset where it was.")),
		rest.Typed("POST", "/process/execution/{id}/signal", "SignalExecution", h.signal, rest.Tag("process"),
			rest.Summary("Send a signal to all processes of an execution")),
	}
}

// Close waits for what still runs. The caller has closed the runner before.
func (h *Handler) Close() {
	h.works.Wait()
	h.Python.Close()
	h.kept.close()
}
