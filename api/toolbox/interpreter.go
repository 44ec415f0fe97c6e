package toolbox

// InterpreterContextCreate is the body of POST /process/interpreter/context.
type InterpreterContextCreate struct {
	Cwd      *string `json:"cwd,omitempty" doc:"Working directory; absent or empty: that of the daemon. A relative one starts there."`
	Language *string `json:"language,omitempty" doc:"Language; python, or absent."`
}

// InterpreterContext is a namespace of a stateful interpreter: variables, imports and functions that stay from run to run.
type InterpreterContext struct {
	ID        string `json:"id" doc:"Id, a UUID."`
	Cwd       string `json:"cwd" doc:"Working directory."`
	CreatedAt string `json:"createdAt" doc:"When it was made, RFC 3339."`
	Active    bool   `json:"active" doc:"Its process runs. When it has ended, the next run starts it again, without the variables."`
	Language  string `json:"language" doc:"Language: python."`
}

// InterpreterContexts answers GET /process/interpreter/context.
type InterpreterContexts struct {
	Contexts []InterpreterContext `json:"contexts" doc:"Contexts that were made, oldest first; without the default one."`
}

// InterpreterContextDeleted answers DELETE /process/interpreter/context/{id}.
type InterpreterContextDeleted struct {
	Message string `json:"message" doc:"What was done."`
}

// InterpreterRun is the one message that a client sends on the WebSocket /process/interpreter/execute.
type InterpreterRun struct {
	Code      string            `json:"code" doc:"Python source."`
	ContextID string            `json:"contextId,omitempty" doc:"Context to run in; absent: the default one."`
	Timeout   *float64          `json:"timeout,omitempty" doc:"Seconds; 0: none, absent: 600."`
	Envs      map[string]string `json:"envs,omitempty" doc:"Environment on top of the sandbox's, for this run."`
}

// Kinds of [InterpreterMessage].
const (
	InterpreterStdout  = "stdout"  // text that the run wrote
	InterpreterStderr  = "stderr"  // text that the run wrote to standard error
	InterpreterError   = "error"   // the run failed: name, value, traceback
	InterpreterControl = "control" // the last message: text is completed or interrupted
	InterpreterDisplay = "display" // the run showed something: text, data, chart. An addition to the 0.x wire
	InterpreterResult  = "result"  // the value of the last expression, unless None: text, data. An addition to the 0.x wire
)

// InterpreterMessage is one of the messages that the server sends on the WebSocket /process/interpreter/execute: outputs,
// then an error where the run failed, then one of type control. The five texts are always there.
type InterpreterMessage struct {
	Type      string `json:"type"`
	Text      string `json:"text"`
	Name      string `json:"name"`
	Value     string `json:"value"`
	Traceback string `json:"traceback"`

	Data  map[string]string `json:"data,omitempty"`  // richer forms of what was shown, by media type; pictures in base64
	Chart *Chart            `json:"chart,omitempty"` // what plt.show() showed
}
