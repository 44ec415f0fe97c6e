//go:build linux

// Command dugoutd-git carries out one operation on a git repository: the request is JSON on its standard input, the answer
// lines of JSON on its standard output. It stands beside dugoutd in a sandbox and is started for images that have no git
// program.
//
// It is a program of its own because of its weight, as dugoutd-ts is.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/daemon/git/gogit"
	"github.com/dugout-dev/dugout/internal/daemon/git/op"
)

// maxRequest limits a request, in bytes; the daemon's own limit is lower.
const maxRequest = 8 << 20

func main() {
	if len(os.Args) > 1 {
		_, _ = fmt.Fprintln(os.Stderr, "usage: dugoutd-git < request")
		os.Exit(2)
	}
	os.Exit(serve(os.Stdin, os.Stdout))
}

func serve(in io.Reader, w io.Writer) int {
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer cancel()
	out := bufio.NewWriter(w)
	answers := json.NewEncoder(out)
	var r op.Request
	err := json.NewDecoder(io.LimitReader(in, maxRequest)).Decode(&r)
	var result *op.Result
	if err == nil {
		result, err = (&gogit.Library{Home: os.Getenv("HOME")}).Do(ctx, &r, func(c *toolbox.GitCommitInfo) error { return answers.Encode(op.Reply{Commit: c}) })
	}
	last := op.Reply{Result: result}
	if err != nil {
		last = op.Reply{Error: op.FaultOf(err)}
	}
	if answers.Encode(last) != nil || out.Flush() != nil {
		return 1
	}
	return 0
}
