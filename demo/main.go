// Command demo shows one real job from beginning to end: it starts a server of its own, makes a sandbox through the public
// API, has a data set analysed in it by a Python program, a TypeScript program and a shell pipeline, fetches what they made,
// and cleans up. Needs root, like the server.
//
//	go run ./demo -dugout bin/dugout -dir .cache/demo
package main

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/base64"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	dugout "github.com/dugout-dev/dugout/sdk/go"
)

var (
	//go:embed data/penguins.csv
	penguins []byte
	//go:embed jobs/summary.py
	summary string
	//go:embed jobs/islands.ts
	islands string
)

// pipeline runs through the command line, as a person or a script would run it.
const pipeline = `tail -n +2 penguins.csv | cut -d, -f1,8 | sort | uniq -c | sort -k2`

func main() {
	program := flag.String("dugout", "bin/dugout", "the dugout program")
	dir := flag.String("dir", ".cache/demo", "directory for the server's data, its log and the results")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := demo(ctx, *program, *dir); err != nil {
		if ctx.Err() != nil && errors.Is(err, context.Canceled) {
			fmt.Fprintln(os.Stderr, "\ndemo: interrupted")
			os.Exit(130)
		}
		fmt.Fprintln(os.Stderr, "\ndemo:", err)
		os.Exit(1)
	}
}

func demo(ctx context.Context, program, dir string) (err error) {
	began := time.Now()
	dir, err = filepath.Abs(dir)
	if err != nil {
		return err
	}
	out := filepath.Join(dir, "out")
	if err := errors.Join(os.RemoveAll(out), os.MkdirAll(out, 0o755)); err != nil {
		return err
	}
	var show steps
	fmt.Println("Dugout demo: 344 penguins, three languages, one sandbox")

	show.begin("Start the server")
	srv, err := start(ctx, program, dir, show.note)
	if err != nil {
		return err
	}
	defer func() {
		show.begin("Stop the server and tidy up the host")
		if serr := srv.leave(); serr != nil {
			err = errors.Join(err, serr)
			return
		}
		show.end("done")
		if err == nil {
			fmt.Printf("\nDone in %.1f s. Results: %s\n", time.Since(began).Seconds(), out)
		}
	}()
	client, err := dugout.New(srv.access)
	if err != nil {
		return err
	}
	show.end("API at " + client.APIURL())

	show.begin("Create a sandbox")
	box, err := client.Create(ctx, dugout.CreateOptions{Name: fmt.Sprintf("penguins-%d", time.Now().Unix()), NetworkBlockAll: true})
	if err != nil {
		return err
	}
	show.end(fmt.Sprintf("%s: CPUs %v, memory %v GiB, no network", box.Name, box.CPU, box.Memory))
	defer func() { // also after an interrupt
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		defer cancel()
		show.begin("Delete the sandbox")
		derr := box.Delete(ctx)
		if derr == nil {
			derr = box.Wait(ctx, dugout.Destroyed)
		}
		if derr == nil {
			show.end("destroyed")
		}
		err = errors.Join(err, derr)
	}()

	show.begin("Upload the data")
	if err := box.Files().Upload(ctx, "penguins.csv", bytes.NewReader(penguins)); err != nil {
		return err
	}
	show.end(fmt.Sprintf("penguins.csv, %d bytes", len(penguins)))

	show.begin("Python: statistics by species, and a chart")
	py, err := box.CodeRun(ctx, dugout.Python, summary, dugout.CodeOptions{Timeout: 2 * time.Minute})
	if err != nil {
		return err
	}
	if err := show.result(py.Output, py.ExitCode); err != nil {
		return err
	}
	if len(py.Charts) != 1 {
		return fmt.Errorf("the Python program shows 1 chart, %d came", len(py.Charts))
	}

	show.begin("TypeScript: what lives on which island")
	ts, err := box.CodeRun(ctx, dugout.TypeScript, islands, dugout.CodeOptions{Timeout: time.Minute})
	if err != nil {
		return err
	}
	if err := show.result(ts.Output, ts.ExitCode); err != nil {
		return err
	}

	show.begin("Shell, by the command line: birds by species and year")
	show.note("$ dugout exec " + box.Name + " -- sh -c '" + pipeline + "'")
	text, code, err := srv.run(ctx, "exec", box.Name, "--", "sh", "-c", pipeline)
	if err != nil {
		return err
	}
	if err := show.result(text, code); err != nil {
		return err
	}

	show.begin("Download the results")
	var list strings.Builder
	png, err := base64.StdEncoding.DecodeString(py.Charts[0].PNG)
	if err != nil {
		return fmt.Errorf("the chart's picture: %w", err)
	}
	if err := save(&list, out, "penguins.png", bytes.NewReader(png)); err != nil {
		return err
	}
	for _, name := range []string{"summary.csv", "islands.json"} {
		f, err := box.Files().Download(ctx, name)
		if err != nil {
			return err
		}
		if err := errors.Join(save(&list, out, name, f), f.Close()); err != nil {
			return err
		}
	}
	show.end(strings.TrimSuffix(list.String(), "\n"))
	return nil
}

// save writes r to the file name in dir and adds a line about it to list.
func save(list io.Writer, dir, name string, r io.Reader) error {
	f, err := os.Create(filepath.Join(dir, name))
	if err != nil {
		return err
	}
	n, err := io.Copy(f, r)
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	fmt.Fprintf(list, "%-12s  %6d bytes\n", name, n)
	return nil
}

// exitCode separates a program that ended with a code from one that could not be run.
func exitCode(err error) (int, error) {
	var ended *exec.ExitError
	if errors.As(err, &ended) && ended.ExitCode() >= 0 {
		return ended.ExitCode(), nil
	}
	return 0, err
}
