package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
)

// measureToolbox times what an agent does all day in one sandbox. No sandbox or container comes or goes meanwhile.
func (w *world) measureToolbox(ctx context.Context) error {
	small := make([]byte, 1024)
	_, _ = rand.Read(small)
	api, id := w.api, w.sandbox
	if err := api.upload(ctx, id, "small.bin", small); err != nil {
		return err
	}
	if err := api.exec(ctx, id, "mkdir -p listed && touch listed/a listed/b listed/c", ""); err != nil {
		return err
	}
	toolbox := "/toolbox/" + id
	if err := api.json(ctx, http.MethodPost, toolbox+"/process/session", map[string]any{"sessionId": "raw"}, nil); err != nil {
		return err
	}
	arms := []arm{
		timed(forkExec, func(ctx context.Context) error { return exec.CommandContext(ctx, "/bin/sh", "-c", "true").Run() }),
		timed(execTrueRaw, func(ctx context.Context) error { return api.exec(ctx, id, "true", "") }),
		timed(execEchoRaw, func(ctx context.Context) error { return api.exec(ctx, id, "echo hello", "hello\n") }),
		timed(codeRaw, func(ctx context.Context) error { return api.code(ctx, id, "print(1+1)", "2\n") }),
		timed(upSmallRaw, func(ctx context.Context) error { return api.upload(ctx, id, "small.bin", small) }),
		timed(downSmallRaw, func(ctx context.Context) error { return api.download(ctx, id, "small.bin", len(small)) }),
		timed(listRaw, func(ctx context.Context) error {
			var files []json.RawMessage
			err := api.json(ctx, http.MethodGet, toolbox+"/files?path=listed", nil, &files)
			if err == nil && len(files) != 3 {
				err = fmt.Errorf("%d files listed", len(files))
			}
			return err
		}),
		timed(sessionRaw, func(ctx context.Context) error {
			var out struct {
				Output string `json:"output"`
			}
			err := api.json(ctx, http.MethodPost, toolbox+"/process/session/raw/exec", map[string]any{"command": "echo hello"}, &out)
			if err == nil && out.Output != "hello\n" {
				err = fmt.Errorf("the session gave %q", out.Output)
			}
			return err
		}),
	}
	terminal, err := w.openTerminal(ctx)
	if err != nil {
		return err
	}
	defer terminal.CloseNow()
	arms = append(arms, timed(ptyEcho, func(ctx context.Context) error { return echo(ctx, terminal) }))
	if w.python != nil {
		arms = append(arms, w.bySDK(execTrueSDK, "exec", map[string]any{"command": "true", "want": ""}),
			w.bySDK(execEchoSDK, "exec", map[string]any{"command": "echo hello", "want": "hello\n"}),
			w.bySDK(codeSDK, "code", nil),
			w.bySDK(upSmallSDK, "up", map[string]any{"size": 1024, "path": "small-sdk.bin"}),
			w.bySDK(downSmallSDK, "down", map[string]any{"size": 1024, "path": "small.bin"}),
			w.bySDK(listSDK, "list", map[string]any{"path": "listed", "want": 3}),
			w.bySDK(sessionSDK, "session", nil),
			w.bySDK(interpSDK, "interpreter", nil))
	}
	if w.hasDock {
		arms = append(arms, timed(dockerExec, func(ctx context.Context) error { return w.docker.exec(ctx, w.box, "/bin/true") }))
	}
	return errors.Join(w.interleave(ctx, w.rounds, arms), w.measureThroughput(ctx), w.measureDaemon(ctx))
}

// openTerminal connects to a terminal that echoes what it gets and says nothing else.
func (w *world) openTerminal(ctx context.Context) (*websocket.Conn, error) {
	base := "/toolbox/" + w.sandbox + "/process/pty"
	if err := w.api.json(ctx, http.MethodPost, base, map[string]any{"id": "bench"}, nil); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	c, resp, err := websocket.Dial(ctx, strings.Replace(w.api.base, "http", "ws", 1)+base+"/bench/connect", &websocket.DialOptions{HTTPHeader: http.Header{"Authorization": {"Bearer " + w.api.key}}})
	if err != nil {
		return nil, err
	}
	if resp.Body != nil {
		resp.Body.Close()
	}
	if err := c.Write(ctx, websocket.MessageBinary, []byte("stty raw echo; echo re''ady; exec cat >/dev/null\n")); err != nil {
		return nil, err
	}
	for seen := ""; !strings.Contains(seen, "ready"); { // not in what the shell echoes of the command
		_, b, err := c.Read(ctx)
		if err != nil {
			return nil, err
		}
		seen += string(b)
	}
	pause(ctx, 200*time.Millisecond) // what is left of the line
	return c, echo(ctx, c)
}

// echo sends one character and waits for it to come back.
func echo(ctx context.Context, c *websocket.Conn) error {
	if err := c.Write(ctx, websocket.MessageBinary, []byte("~")); err != nil {
		return err
	}
	for {
		_, b, err := c.Read(ctx)
		if err != nil || strings.Contains(string(b), "~") {
			return err
		}
	}
}

const (
	throughputRaw = "exec true, 8 workers, HTTP"
	throughputSDK = "exec true, 8 workers, SDK"
)

// measureThroughput keeps eight workers busy with short commands in one sandbox.
func (w *world) measureThroughput(ctx context.Context) error {
	const workers = 8
	var count atomic.Int64
	start := time.Now()
	err := each(workers, make([]struct{}, workers), func(struct{}) error {
		for time.Since(start) < w.sustained && ctx.Err() == nil {
			if err := w.api.exec(ctx, w.sandbox, "true", ""); err != nil {
				return err
			}
			count.Add(1)
		}
		return nil
	})
	w.report.put(throughputRaw, "/s", float64(count.Load())/time.Since(start).Seconds())
	if err != nil || w.python == nil {
		return err
	}
	a, err := w.python.ask("throughput", map[string]any{"workers": workers, "seconds": w.sustained.Seconds()})
	w.report.put(throughputSDK, "/s", a.Rate)
	return err
}

const (
	daemonDisk  = "daemon on disk"
	helpersDisk = "what it runs beside it on demand, on disk"
)

// measureDaemon adds up the programs that are mounted into a sandbox.
func (w *world) measureDaemon(ctx context.Context) error {
	var out struct {
		Result string `json:"result"`
	}
	in := map[string]any{"command": "cat /usr/local/bin/dugoutd | wc -c; cat /usr/local/bin/dugoutd-* | wc -c"}
	if err := w.api.json(ctx, http.MethodPost, "/toolbox/"+w.sandbox+"/process/execute", in, &out); err != nil {
		return err
	}
	sizes := strings.Fields(out.Result)
	for i, name := range []string{daemonDisk, helpersDisk} {
		if i >= len(sizes) {
			return fmt.Errorf("no sizes in %q", out.Result)
		}
		size, err := strconv.ParseFloat(sizes[i], 64)
		if err != nil {
			return err
		}
		w.report.put(name, "MB", size/megabyte)
	}
	return nil
}
