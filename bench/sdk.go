package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"
)

// sdk is a Python process with the official package that runs one call at a time and tells how long it took.
type sdk struct {
	cmd     *exec.Cmd
	in      io.WriteCloser
	out     *bufio.Reader
	version string
}

func startSDK(ctx context.Context, o options, s *server) (*sdk, error) {
	cmd := exec.CommandContext(ctx, o.python, o.script)
	cmd.Env = append(os.Environ(), "DAYTONA_API_URL="+s.url+"/api", "DAYTONA_API_KEY="+s.key, "DAYTONA_TARGET=us")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &sdk{cmd: cmd, in: in, out: bufio.NewReader(out)}
	var hello struct{ Version string }
	if err := p.read(&hello); err != nil {
		p.close()
		return nil, fmt.Errorf("%s %s: %w", o.python, o.script, err)
	}
	p.version = hello.Version
	return p, nil
}

func (p *sdk) read(into any) error {
	line, err := p.out.ReadBytes('\n')
	if err != nil {
		return err
	}
	return json.Unmarshal(line, into)
}

// call runs one operation and returns the time around the SDK's call, and the id of what it made.
func (p *sdk) call(op string, args map[string]any) (time.Duration, string, error) {
	a, err := p.ask(op, args)
	return time.Duration(a.MS * float64(time.Millisecond)), a.ID, err
}

// answer is what the process says about one operation.
type answer struct {
	MS    float64 `json:"ms"`
	ID    string  `json:"id"`   // of a sandbox that was made
	Rate  float64 `json:"rate"` // per second, of an operation that counts
	Error string  `json:"error"`
}

func (p *sdk) ask(op string, args map[string]any) (a answer, err error) {
	request := map[string]any{"op": op}
	for k, v := range args {
		request[k] = v
	}
	line, err := json.Marshal(request)
	if err != nil {
		return a, err
	}
	if _, err := p.in.Write(append(line, '\n')); err != nil {
		return a, err
	}
	if err := p.read(&a); err != nil {
		return a, err
	}
	if a.Error != "" {
		return answer{ID: a.ID}, errors.New(a.Error)
	}
	return a, nil
}

// close ends the process: it leaves when its input ends.
func (p *sdk) close() {
	p.in.Close()
	_ = p.cmd.Wait()
}
