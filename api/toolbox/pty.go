package toolbox

// Limits of a terminal's size on the 0.x wire, in characters.
const (
	MaxTerminalCols = 1000
	MaxTerminalRows = 1000
)

// PtyCreate is the body of POST /process/pty.
type PtyCreate struct {
	ID        string            `json:"id,omitempty" doc:"Name of the terminal, unique in the sandbox: 1 to 128 bytes of text without a slash or control characters. It must be given."`
	Cwd       string            `json:"cwd,omitempty" doc:"Where the shell starts; absent or empty: the working directory of the sandbox."`
	Envs      map[string]string `json:"envs,omitempty" doc:"Environment on top of the sandbox's."`
	Cols      *int              `json:"cols,omitempty" doc:"Width in characters, at most 1000; absent or 0: 80."`
	Rows      *int              `json:"rows,omitempty" doc:"Height in lines, at most 1000; absent or 0: 24."`
	LazyStart bool              `json:"lazyStart,omitempty" doc:"Start the shell when the first client connects."`
}

// PtyCreated answers POST /process/pty.
type PtyCreated struct {
	SessionID string `json:"sessionId" doc:"Name of the terminal, as given."`
}

// PtyInfo describes a terminal. It exists until its shell ends.
type PtyInfo struct {
	ID        string            `json:"id" doc:"Name of the terminal."`
	Cwd       string            `json:"cwd" doc:"Where the shell started."`
	Envs      map[string]string `json:"envs" doc:"Environment given at its creation."`
	Cols      int               `json:"cols" doc:"Width in characters."`
	Rows      int               `json:"rows" doc:"Height in lines."`
	CreatedAt string            `json:"createdAt" doc:"When it was created, RFC 3339."`
	Active    bool              `json:"active" doc:"The shell was started."`
	LazyStart bool              `json:"lazyStart" doc:"The shell starts, or was started, when the first client connects."`
}

// PtyList answers GET /process/pty.
type PtyList struct {
	Sessions []PtyInfo `json:"sessions" doc:"The terminals, oldest first."`
}

// PtyResize is the body of POST /process/pty/{sessionId}/resize.
type PtyResize struct {
	Cols int `json:"cols" minimum:"1" maximum:"1000" doc:"Width in characters."`
	Rows int `json:"rows" minimum:"1" maximum:"1000" doc:"Height in lines."`
}

// States that a [PtyControl] tells.
const (
	PtyConnected = "connected" // the first frame; what follows is the terminal's output
	PtyError     = "error"     // the shell could not be started
	PtyExited    = "exited"    // the last frame, for clients that offered [PtyExitControl]
)

// PtyControl is a text frame of the server on a terminal's WebSocket. Output comes as binary frames; what the client sends,
// as text or binary, is input. When the shell ends, the close frame's reason is a [PtyExit].
type PtyControl struct {
	Type       string `json:"type" doc:"control"`
	Status     string `json:"status" doc:"connected, error or exited."`
	Error      string `json:"error,omitempty" doc:"Why the shell could not be started."`
	ExitCode   *int   `json:"exitCode,omitempty" doc:"With exited: as in PtyExit."`
	ExitReason string `json:"exitReason,omitempty" doc:"With exited: as in PtyExit."`
}

// PtyExit says how the shell ended: the reason of the close frame, whose code is 1000 for exit code 0 and 1011 otherwise.
type PtyExit struct {
	ExitCode   int    `json:"exitCode"`             // 128 and the signal's number when one ended it
	ExitReason string `json:"exitReason,omitempty"` // "" for 0
}

// Subprotocols of a terminal's WebSocket.
const (
	// PtyExitControl is offered by clients that read [PtyExited].
	PtyExitControl = "X-Daytona-Pty-Exit-Control"
	// PtyEnvs precedes the environment for create-connect: base64url without padding of a JSON object of strings.
	PtyEnvs = "X-Daytona-Pty-Envs~"
)
