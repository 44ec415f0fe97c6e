package dugout_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"strings"
	"time"

	dugout "github.com/dugout-dev/dugout/sdk/go"
)

func Example() {
	ctx := context.Background()
	client, err := dugout.New(dugout.Options{}) // DUGOUT_API_URL and DUGOUT_API_KEY
	if err != nil {
		log.Fatal(err)
	}
	sandbox, err := client.Create(ctx, dugout.CreateOptions{Labels: map[string]string{"purpose": "example"}})
	if err != nil {
		log.Fatal(err)
	}
	defer sandbox.Delete(ctx)

	if err := sandbox.Files().Upload(ctx, "data.txt", strings.NewReader("one\ntwo\n")); err != nil {
		log.Fatal(err)
	}
	result, err := sandbox.Exec(ctx, "wc -l < data.txt", dugout.ExecOptions{Timeout: 10 * time.Second})
	switch {
	case errors.Is(err, dugout.ErrTimeout):
		log.Fatal("it took too long")
	case err != nil:
		log.Fatal(err)
	}
	fmt.Println(result.ExitCode, result.Output)
}

func ExampleSandbox_CodeRun() {
	ctx := context.Background()
	local, err := dugout.Local("") // the installation on this host
	if err != nil {
		log.Fatal(err)
	}
	client, err := dugout.New(local)
	if err != nil {
		log.Fatal(err)
	}
	sandbox, err := client.Get(ctx, "box")
	if err != nil {
		log.Fatal(err)
	}
	result, err := sandbox.CodeRun(ctx, dugout.Python, "print(1 + 1)", dugout.CodeOptions{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Print(result.Output)
}

func ExampleClient_List() {
	ctx := context.Background()
	client, err := dugout.New(dugout.Options{})
	if err != nil {
		log.Fatal(err)
	}
	for sandbox, err := range client.List(ctx, dugout.ListOptions{States: []dugout.State{dugout.Started}}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(sandbox.Name)
	}
}

func ExampleSandbox_Watch() {
	ctx := context.Background()
	client, err := dugout.New(dugout.Options{})
	if err != nil {
		log.Fatal(err)
	}
	sandbox, err := client.Get(ctx, "builder")
	if err != nil {
		log.Fatal(err)
	}
	watch, err := sandbox.Watch(ctx, "src", dugout.WatchOptions{Recursive: true, Exclude: []string{".git", "node_modules"}})
	if err != nil {
		log.Fatal(err)
	}
	defer watch.Close()
	for {
		m, err := watch.Next(ctx)
		if err != nil {
			log.Fatal(err)
		}
		for _, change := range m.Changes {
			fmt.Println(change.Type, change.Path)
		}
	}
}

func ExampleLanguageServer() {
	ctx := context.Background()
	client, err := dugout.New(dugout.Options{})
	if err != nil {
		log.Fatal(err)
	}
	sandbox, err := client.Get(ctx, "builder")
	if err != nil {
		log.Fatal(err)
	}
	server := sandbox.LanguageServer("python", "project")
	if err := server.Start(ctx); err != nil {
		log.Fatal(err)
	}
	list, err := server.Completions(ctx, "main.py", 11, 4)
	if err != nil {
		log.Fatal(err)
	}
	for _, item := range list.Items {
		fmt.Println(item.Label)
	}
}

func ExampleSandbox_CreateSession() {
	ctx := context.Background()
	client, err := dugout.New(dugout.Options{})
	if err != nil {
		log.Fatal(err)
	}
	sandbox, err := client.Get(ctx, "box")
	if err != nil {
		log.Fatal(err)
	}
	session, err := sandbox.CreateSession(ctx, "build")
	if err != nil {
		log.Fatal(err)
	}
	defer session.Delete(ctx)

	if _, err := session.Exec(ctx, "cd /tmp && export MODE=fast"); err != nil { // both stay
		log.Fatal(err)
	}
	command, err := session.Start(ctx, `for i in 1 2 3; do echo "$PWD $MODE $i"; sleep 1; done`, dugout.StartOptions{})
	if err != nil {
		log.Fatal(err)
	}
	if err := command.Follow(ctx, os.Stdout, os.Stderr); err != nil {
		log.Fatal(err)
	}
}

func ExampleSandbox_Desktop() {
	ctx := context.Background()
	client, err := dugout.New(dugout.Options{})
	if err != nil {
		log.Fatal(err)
	}
	sandbox, err := client.Create(ctx, dugout.CreateOptions{Snapshot: "desktop"})
	if err != nil {
		log.Fatal(err)
	}
	defer sandbox.Delete(ctx)

	desktop := sandbox.Desktop()
	if err := desktop.Start(ctx); err != nil {
		log.Fatal(err)
	}
	if _, err := sandbox.Exec(ctx, "setsid l3afpad >/dev/null 2>&1 &", dugout.ExecOptions{}); err != nil {
		log.Fatal(err)
	}
	if err := desktop.Type(ctx, "Grüße aus der Sandbox\n", 0); err != nil {
		log.Fatal(err)
	}
	png, err := desktop.Screenshot(ctx, dugout.ScreenshotOptions{Cursor: true})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(png) > 0)
}
