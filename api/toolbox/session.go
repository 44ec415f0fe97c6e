package toolbox

// EntrypointSession is the id that no session can be created with: that of the image's entrypoint.
const EntrypointSession = "entrypoint"

// SplitOutputHeader being "true", from a client that names no version, asks for logs with the marks of the streams in them.
const SplitOutputHeader = "X-Daytona-Split-Output"

// Marks stand before each line of a session's log and tell its stream. Everything up to the next mark belongs to it.
const (
	StdoutMark = "\x01\x01\x01"
	StderrMark = "\x02\x02\x02"
)

// CreateSession is the body of POST /process/session.
type CreateSession struct {
	SessionID string `json:"sessionId" doc:"Name of the session: 1 to 128 bytes without control characters, not entrypoint."`
}

// Session is a shell that lives on between commands.
type Session struct {
	SessionID string           `json:"sessionId" doc:"Name of the session."`
	Commands  []SessionCommand `json:"commands" doc:"Its commands, oldest first. The last 1000 are remembered."`
}

// SessionCommand is a command of a session.
type SessionCommand struct {
	ID       string `json:"id" doc:"Id of the command."`
	Command  string `json:"command" doc:"Its text; only the first 4 KiB of a longer one."`
	ExitCode *int   `json:"exitCode,omitempty" doc:"Exit code; absent until the command has ended. 128 and the signal's number when a signal killed it, -1 when it could not run."`
}

// SessionExecute is the body of POST /process/session/{sessionId}/exec.
type SessionExecute struct {
	Command           string `json:"command" doc:"Text for the session's shell, any number of lines."`
	RunAsync          bool   `json:"runAsync,omitempty" doc:"Answer at once and give the command an input that stays open."`
	Async             bool   `json:"async,omitempty" doc:"Older name of runAsync."`
	SuppressInputEcho bool   `json:"suppressInputEcho,omitempty" doc:"Input is not repeated in the log."`
}

// SessionExecuted answers POST /process/session/{sessionId}/exec. What a client gets of the output depends on its age.
type SessionExecuted struct {
	CmdID    string  `json:"cmdId" doc:"Id of the command."`
	Output   *string `json:"output" doc:"Standard output and error as logged; null while the command runs."`
	Stdout   *string `json:"stdout" doc:"Standard output; null from clients before 0.167 and while the command runs."`
	Stderr   *string `json:"stderr" doc:"Standard error; null from clients before 0.167 and while the command runs."`
	ExitCode *int    `json:"exitCode" doc:"Exit code; null while the command runs."`
}

// SessionLogs answers GET /process/session/{sessionId}/command/{commandId}/logs to clients since 0.167.
type SessionLogs struct {
	Output string `json:"output" doc:"The log, with the marks of the streams."`
	Stdout string `json:"stdout" doc:"Standard output alone."`
	Stderr string `json:"stderr" doc:"Standard error alone."`
}

// SessionInput is the body of POST /process/session/{sessionId}/command/{commandId}/input.
type SessionInput struct {
	Data string `json:"data" doc:"Text for the command's standard input. A line end is added when it has none."`
}
