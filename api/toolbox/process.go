package toolbox

import (
	"encoding/json"

	"github.com/dugout-dev/dugout/api"
)

// ExecutionIDHeader names a run, so that a client that lost its connection can ask again without running it twice: a
// second request with the same id and the same body attaches to the run or gets its finished result. 1 to 64 characters
// of A-Z a-z 0-9 _ -. An addition to the 0.x wire.
const ExecutionIDHeader = "X-Dugout-Execution-Id"

// Execute is the body of POST /process/execute.
type Execute struct {
	Command string            `json:"command" doc:"Text for the shell: any number of lines, no limit but that of the body."`
	Timeout *uint32           `json:"timeout,omitempty" doc:"Seconds until the command and everything it started is killed; absent or 0: never."`
	Cwd     *string           `json:"cwd,omitempty" doc:"Working directory; absent or empty: that of the daemon."`
	Envs    map[string]string `json:"envs,omitempty" doc:"Environment on top of the sandbox's."`

	// Additions to the 0.x wire.
	Split     bool   `json:"split,omitempty" doc:"Give the command one pipe for standard output and one for standard error, and answer with stdout and stderr too. The order of what it writes to the two can then differ a little in result. Without it both are one pipe and the order is exact."`
	User      string `json:"user,omitempty" doc:"Name or uid of the sandbox's user to run as. Where the daemon is not root, this needs sudo in the image. Absent: the daemon's own."`
	Stdin     string `json:"stdin,omitempty" doc:"Text for standard input, which then ends. Absent: empty."`
	StdinData []byte `json:"stdinData,omitempty" doc:"Bytes for standard input, in base64; in place of stdin."`
	OpenStdin bool   `json:"openStdin,omitempty" doc:"Keep standard input open for clients that connect to the execution; it must have an id."`
}

// Executed answers POST /process/execute.
type Executed struct {
	ExitCode int    `json:"exitCode" doc:"Exit code; -1 when a signal killed the command or it could not be started."`
	Result   string `json:"result" doc:"Standard output and error, interleaved as written. At most 64 MiB, then a line says that the rest was dropped. Bytes that are not UTF-8 come as U+FFFD."`

	Stdout *string `json:"stdout,omitempty" doc:"Standard output alone, when the request said split. An addition to the 0.x wire, not sent to Go clients before 0.188."`
	Stderr *string `json:"stderr,omitempty" doc:"Standard error alone, in the same cases."`
}

// Signal is the body of POST /process/execution/{id}/signal. An addition to the 0.x wire.
type Signal struct {
	Signal string `json:"signal" doc:"Name, with or without SIG: HUP, INT, QUIT, KILL, USR1, USR2, TERM, CONT, STOP, TSTP, WINCH, …"`
}

// Types of the events of POST /process/execute/stream and of the messages of GET /process/execution/{id}/connect. Additions to
// the 0.x wire.
const (
	EventStart   = "start"
	EventStdout  = "stdout"
	EventStderr  = "stderr"
	EventGap     = "gap"
	EventTimeout = "timeout"
	EventExit    = "exit"
)

// StreamOutput is the data of a stdout or stderr event. Exactly one of Text and Data is there.
type StreamOutput struct {
	Offset int64  `json:"offset" doc:"Place of the first byte in all that the command wrote, both streams together."`
	Text   string `json:"text,omitempty" doc:"What it wrote."`
	Data   []byte `json:"data,omitempty" doc:"What it wrote, in base64, where it is not UTF-8."`
}

// StreamGap is the data of a gap event: output that is no longer kept.
type StreamGap struct {
	Offset int64 `json:"offset" doc:"Place of the first byte that is missing."`
	Length int64 `json:"length" doc:"Number of bytes that are missing; 0: all that came later, because the output was over its limit."`
}

// StreamStart is the data of the start event.
type StreamStart struct {
	ID     string `json:"id" doc:"Id of the execution."`
	Offset int64  `json:"offset" doc:"Where the output that follows begins."`
}

// StreamExit is the data of the exit and timeout events.
type StreamExit struct {
	ExitCode int    `json:"exitCode" doc:"Exit code; -1 when a signal killed the command or it could not be started."`
	Signal   string `json:"signal,omitempty" doc:"Name of the signal that killed the shell."`
	TimedOut bool   `json:"timedOut,omitempty" doc:"It was killed when its timeout passed."`
	Offset   int64  `json:"offset" doc:"Number of bytes it wrote."`
}

// ConnectMessage is a text message on GET /process/execution/{id}/connect. Binary messages of the daemon are one byte for the
// stream, 1 or 2, and output; those of the client are standard input.
type ConnectMessage struct {
	Type string `json:"type" enum:"start,gap,exit,eof,signal" doc:"From the daemon: start, gap, exit. From the client: eof ends standard input, signal sends one."`

	ID       string `json:"id,omitempty" doc:"start: id of the execution."`
	Offset   int64  `json:"offset,omitempty" doc:"start: where the output that follows begins; gap: place of the first missing byte; exit: number of bytes written."`
	Length   int64  `json:"length,omitempty" doc:"gap: number of missing bytes, 0: all that came later."`
	ExitCode *int   `json:"exitCode,omitempty" doc:"exit: exit code, -1 when a signal killed it."`
	TimedOut bool   `json:"timedOut,omitempty" doc:"exit: it was killed when its timeout passed."`
	Signal   string `json:"signal,omitempty" doc:"exit: name of the signal that killed the shell; signal: name of the one to send."`
}

// CodeRun is the body of POST /process/code-run.
type CodeRun struct {
	Code     string            `json:"code" doc:"Source text."`
	Language string            `json:"language" enum:"python,javascript,typescript" doc:"Language of the source."`
	Argv     []string          `json:"argv,omitempty" doc:"Arguments of the program."`
	Envs     map[string]string `json:"envs,omitempty" doc:"Environment on top of the sandbox's."`
	Timeout  *uint32           `json:"timeout,omitempty" doc:"Seconds until the program and everything it started is killed; absent or 0: never."`
}

// CodeRan answers POST /process/code-run.
type CodeRan struct {
	ExitCode  int        `json:"exitCode" doc:"Exit code; -1 when a signal killed the program or it could not be started."`
	Result    string     `json:"result" doc:"Standard output and error, as in an execution; without the artifact lines."`
	Artifacts *Artifacts `json:"artifacts,omitempty" doc:"What the program showed besides text."`
}

// Execution answers GET /process/execution/{id}. An addition to the 0.x wire.
type Execution struct {
	ID       string  `json:"id" doc:"The id given with the request that started it."`
	Running  bool    `json:"running" doc:"It has not ended yet."`
	TimedOut bool    `json:"timedOut,omitempty" doc:"It was killed when its timeout passed."`
	ExitCode *int    `json:"exitCode,omitempty" doc:"Exit code, once it ended."`
	Signal   string  `json:"signal,omitempty" doc:"Name of the signal that killed the shell, once it ended."`
	Result   *string `json:"result,omitempty" doc:"Its whole output, once it ended; the last 8 MiB of one that was started as a stream."`
	Stdout   *string `json:"stdout,omitempty" doc:"Standard output alone, when the request said split."`
	Stderr   *string `json:"stderr,omitempty" doc:"Standard error alone, when the request said split."`

	Artifacts *Artifacts `json:"artifacts,omitempty" doc:"What a program showed besides text, once it ended."`
}

// TimedOut is the error body of a run that was killed when its timeout passed: status 408, code PROCESS_EXECUTION_TIMEOUT.
// The message repeats the end of the output, for clients that know the common keys only.
type TimedOut struct {
	api.Error
	Result string `json:"result" doc:"Output until the timeout."`
}

// Artifacts are what a program showed besides text.
type Artifacts struct {
	Charts []Chart `json:"charts" doc:"Charts, in the order they were shown."`
}

// Chart types.
const (
	ChartLine      = "line"
	ChartScatter   = "scatter"
	ChartBar       = "bar"
	ChartPie       = "pie"
	ChartBox       = "box_and_whisker"
	ChartComposite = "composite_chart"
	ChartUnknown   = "unknown"
)

// Chart is one figure. Positions on a time axis are seconds since 1970, those on an axis of names 0, 1, 2, …
type Chart struct {
	Type        string         `json:"type" enum:"line,scatter,bar,pie,box_and_whisker,composite_chart,unknown" doc:"Kind of chart."`
	Title       string         `json:"title" doc:"Title."`
	PNG         string         `json:"png,omitempty" doc:"The picture, PNG in base64."`
	XLabel      string         `json:"x_label,omitempty" doc:"Label of the x axis."`
	YLabel      string         `json:"y_label,omitempty" doc:"Label of the y axis."`
	XTicks      []float64      `json:"x_ticks,omitempty" doc:"Positions of the ticks."`
	YTicks      []float64      `json:"y_ticks,omitempty" doc:"Positions of the ticks."`
	XTickLabels []string       `json:"x_tick_labels,omitempty" doc:"Texts of the ticks."`
	YTickLabels []string       `json:"y_tick_labels,omitempty" doc:"Texts of the ticks."`
	XScale      string         `json:"x_scale,omitempty" doc:"linear, datetime, categorical, log, …"`
	YScale      string         `json:"y_scale,omitempty" doc:"linear, datetime, categorical, log, …"`
	Elements    []ChartElement `json:"elements" doc:"The data; for a composite chart its charts."`
}

// ChartElement is one series, bar, wedge or box; in a composite chart one chart, with all keys of a chart.
type ChartElement struct {
	Label         string      `json:"label,omitempty" doc:"Name of the element."`
	Points        [][]float64 `json:"points,omitempty" doc:"Pairs x, y of a line or scatter chart."`
	Value         *string     `json:"value,omitempty" doc:"Height of a bar, as text."`
	Group         string      `json:"group,omitempty" doc:"Group of a bar."`
	Angle         *float64    `json:"angle,omitempty" doc:"Angle of a wedge in degrees."`
	Radius        *float64    `json:"radius,omitempty" doc:"Radius of a wedge."`
	Min           *float64    `json:"min,omitempty" doc:"Lower whisker."`
	FirstQuartile *float64    `json:"first_quartile,omitempty" doc:"First quartile."`
	Median        *float64    `json:"median,omitempty" doc:"Median."`
	ThirdQuartile *float64    `json:"third_quartile,omitempty" doc:"Third quartile."`
	Max           *float64    `json:"max,omitempty" doc:"Upper whisker."`
	Outliers      []float64   `json:"outliers,omitempty" doc:"Values outside the whiskers."`

	Type        string         `json:"type,omitempty" doc:"Kind of chart, in a composite chart."`
	Title       string         `json:"title,omitempty" doc:"Title, in a composite chart."`
	PNG         string         `json:"png,omitempty" doc:"Picture, in a composite chart."`
	XLabel      string         `json:"x_label,omitempty" doc:"Label of the x axis, in a composite chart."`
	YLabel      string         `json:"y_label,omitempty" doc:"Label of the y axis, in a composite chart."`
	XTicks      []float64      `json:"x_ticks,omitempty" doc:"Positions of the ticks, in a composite chart."`
	YTicks      []float64      `json:"y_ticks,omitempty" doc:"Positions of the ticks, in a composite chart."`
	XTickLabels []string       `json:"x_tick_labels,omitempty" doc:"Texts of the ticks, in a composite chart."`
	YTickLabels []string       `json:"y_tick_labels,omitempty" doc:"Texts of the ticks, in a composite chart."`
	XScale      string         `json:"x_scale,omitempty" doc:"Scale of the x axis, in a composite chart."`
	YScale      string         `json:"y_scale,omitempty" doc:"Scale of the y axis, in a composite chart."`
	Elements    []ChartElement `json:"elements,omitempty" doc:"Data of the chart, in a composite chart."`
}

// UnmarshalJSON reads what a program emitted: a value may be a number, as older producers write it.
func (e *ChartElement) UnmarshalJSON(b []byte) error {
	type plain ChartElement
	in := struct {
		*plain
		Value json.RawMessage `json:"value"`
	}{plain: (*plain)(e)}
	if err := json.Unmarshal(b, &in); err != nil {
		return err
	}
	if len(in.Value) == 0 || string(in.Value) == "null" {
		return nil
	}
	var s string
	if json.Unmarshal(in.Value, &s) != nil {
		var n json.Number
		if err := json.Unmarshal(in.Value, &n); err != nil {
			return err
		}
		s = n.String()
	}
	e.Value = &s
	return nil
}
