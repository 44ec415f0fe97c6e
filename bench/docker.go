package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// dockerImage is what bench/docker.sh makes from the host's busybox.
const dockerImage = "dugout-bench:1"

// docker speaks to a Docker engine's socket without a client in between, so that only the engine is measured.
type docker struct{ *client }

func newDocker(socket string) docker {
	c := newClient("http://docker", "")
	c.http.Transport = &http.Transport{
		MaxIdleConnsPerHost: 8,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
	}
	return docker{c}
}

// create makes and starts a container on the engine's bridge that waits in sleep, with the limits a sandbox has too.
func (d docker) create(ctx context.Context) (string, error) {
	var made struct{ ID string }
	in := map[string]any{
		"Image": dockerImage, "Cmd": []string{"/bin/sleep", "3600"},
		"HostConfig": map[string]any{"Memory": 1 << 30, "NanoCpus": 1_000_000_000, "PidsLimit": 1024, "NetworkMode": "bridge", "Init": false},
	}
	if err := d.json(ctx, http.MethodPost, "/containers/create", in, &made); err != nil {
		return "", err
	}
	return made.ID, d.json(ctx, http.MethodPost, "/containers/"+made.ID+"/start", nil, nil)
}

func (d docker) remove(ctx context.Context, id string) error {
	return d.json(ctx, http.MethodDelete, "/containers/"+id+"?force=true&v=true", nil, nil)
}

// exec runs a command with its output attached and waits for its end.
func (d docker) exec(ctx context.Context, id string, command ...string) error {
	var made struct{ ID string }
	in := map[string]any{"AttachStdout": true, "AttachStderr": true, "Cmd": command}
	if err := d.json(ctx, http.MethodPost, "/containers/"+id+"/exec", in, &made); err != nil {
		return err
	}
	resp, err := d.send(ctx, http.MethodPost, "/exec/"+made.ID+"/start", strings.NewReader(`{"Detach":false,"Tty":false}`), "application/json")
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	if err != nil {
		return err
	}
	var seen struct {
		Running  bool
		ExitCode int
	}
	for {
		if err := d.json(ctx, http.MethodGet, "/exec/"+made.ID+"/json", nil, &seen); err != nil {
			return err
		}
		if !seen.Running {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if seen.ExitCode != 0 {
		return fmt.Errorf("%v ended with exit code %d", command, seen.ExitCode)
	}
	return nil
}

func (d docker) version(ctx context.Context) (string, error) {
	var v struct{ Version string }
	err := d.json(ctx, http.MethodGet, "/version", nil, &v)
	return v.Version, err
}
