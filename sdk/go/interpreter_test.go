package dugout_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"

	"github.com/dugout-dev/dugout/api/toolbox"
	dugout "github.com/dugout-dev/dugout/sdk/go"
)

// speaks is an interpreter that answers any run with these messages and closes with this code.
func speaks(t *testing.T, code websocket.StatusCode, messages ...string) (*dugout.Interpreter, *string) {
	asked := new(string)
	return inside(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		_, b, _ := c.Read(r.Context())
		*asked = string(b)
		for _, m := range messages {
			_ = c.Write(r.Context(), websocket.MessageText, []byte(m))
		}
		_ = c.Close(code, "the reason")
	})).Interpreter(), asked
}

func TestInterpreterRun(t *testing.T) {
	const control = `{"type":"control","text":"completed","name":"","value":"","traceback":""}`
	i, asked := speaks(t, 1000, `{"type":"stdout","text":"a"}`, `{"type":"stderr","text":"e"}`, `{"type":"stdout","text":"b"}`, `{"type":"hologram"}`,
		`{"type":"display","text":"d","data":{"text/html":"<b>"}}`, `{"type":"result","text":"5"}`, `{"type":"error","name":"N","value":"v","traceback":"T"}`, control)
	r, err := i.Run(t.Context(), "code", dugout.RunOptions{Context: "c", Env: map[string]string{"K": "v"}, Timeout: 1500 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	want := &dugout.RunResult{Stdout: "ab", Stderr: "e", Shown: []dugout.Shown{{Text: "d", Data: map[string]string{"text/html": "<b>"}}, {Text: "5", Value: true}},
		Failure: &dugout.RunFailure{Name: "N", Value: "v", Traceback: "T"}}
	if diff := cmp.Diff(want, r); diff != "" {
		t.Error(diff)
	}
	if *asked != `{"code":"code","contextId":"c","timeout":1.5,"envs":{"K":"v"}}` {
		t.Errorf("asked %s", *asked)
	}
	var out strings.Builder
	var shown []dugout.Shown
	if r, err = i.Run(t.Context(), "code", dugout.RunOptions{Timeout: -1, Stdout: &out, Display: func(s dugout.Shown) { shown = append(shown, s) }}); err != nil || out.String() != "ab" || r.Stdout != "" || len(shown) != 2 || r.Shown != nil {
		t.Errorf("%+v %v %q %v", r, err, out.String(), shown)
	}
	if *asked != `{"code":"code","timeout":0}` {
		t.Errorf("asked %s", *asked)
	}
	for code, want := range map[websocket.StatusCode]error{4008: dugout.ErrTimeout, 1001: dugout.ErrLost, 1008: dugout.ErrInvalid} {
		i, _ := speaks(t, code, `{"type":"stdout","text":"so far"}`)
		if r, err := i.Run(t.Context(), "code", dugout.RunOptions{}); !errors.Is(err, want) || !strings.Contains(err.Error(), "the reason") || r.Stdout != "so far" {
			t.Errorf("%d: %v", code, err)
		}
	}
	for _, messages := range [][]string{{"nonsense"}, {}} { // closed without a control message
		i, _ := speaks(t, 1000, messages...)
		if _, err := i.Run(t.Context(), "code", dugout.RunOptions{}); err == nil {
			t.Errorf("%v: no error", messages)
		}
	}
}

func TestInterpreterContexts(t *testing.T) {
	var calls []string
	i := inside(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls = append(calls, r.Method+" "+r.URL.Path)
		one := toolbox.InterpreterContext{ID: "c1", Cwd: "/tmp", Language: "python", Active: true}
		switch r.Method {
		case "GET":
			reply(w, 200, toolbox.InterpreterContexts{Contexts: []toolbox.InterpreterContext{one}})
		default:
			reply(w, 200, one)
		}
	})).Interpreter()
	c, err := i.CreateContext(t.Context(), "/tmp")
	if err != nil || c.ID != "c1" {
		t.Errorf("%+v %v", c, err)
	}
	if all, err := i.Contexts(t.Context()); err != nil || len(all) != 1 {
		t.Errorf("%+v %v", all, err)
	}
	if err := i.DeleteContext(t.Context(), "c1"); err != nil {
		t.Error(err)
	}
	if want := []string{"POST /process/interpreter/context", "GET /process/interpreter/context", "DELETE /process/interpreter/context/c1"}; !cmp.Equal(calls, want) {
		t.Errorf("%v", calls)
	}
}

func ExampleInterpreter_Run() {
	ctx := context.Background()
	client, err := dugout.New(dugout.Options{})
	if err != nil {
		log.Fatal(err)
	}
	sandbox, err := client.Get(ctx, "box")
	if err != nil {
		log.Fatal(err)
	}
	python := sandbox.Interpreter()
	if _, err := python.Run(ctx, "x = 20", dugout.RunOptions{}); err != nil {
		log.Fatal(err)
	}
	result, err := python.Run(ctx, "print('x is', x)\nx + 1", dugout.RunOptions{Timeout: time.Minute})
	if err != nil {
		log.Fatal(err)
	}
	if result.Failure != nil {
		log.Fatal(result.Failure.Traceback)
	}
	fmt.Println(result.Stdout, result.Shown[0].Text)
}
