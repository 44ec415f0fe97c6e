package dugout_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dugout-dev/dugout/api/toolbox"
	dugout "github.com/dugout-dev/dugout/sdk/go"
)

func TestGitCalls(t *testing.T) {
	var got string
	s := inside(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got = strings.TrimSpace(r.Method + " " + r.URL.RequestURI() + " " + string(b))
		switch r.Method + r.URL.Path {
		case "GET/git/status":
			reply(w, 200, toolbox.GitStatus{CurrentBranch: "main", FileStatus: []toolbox.GitFileStatus{}})
		case "GET/git/branches":
			reply(w, 200, toolbox.GitBranches{Branches: []string{"main"}})
		case "GET/git/history":
			reply(w, 200, []toolbox.GitCommitInfo{{Hash: "h"}})
		case "GET/git/remotes":
			reply(w, 200, toolbox.GitRemotes{Remotes: []toolbox.GitRemote{{Name: "origin"}}})
		case "GET/git/config":
			value := "Ann"
			reply(w, 200, toolbox.GitConfigValue{Value: &value})
		case "POST/git/commit":
			reply(w, 200, toolbox.GitCommitted{Hash: "abc"})
		case "POST/git/branches", "POST/git/init", "POST/git/remotes":
			w.WriteHeader(201)
		case "DELETE/git/branches":
			w.WriteHeader(204)
		}
	}))
	g, ctx := s.Git(), t.Context()
	auth := dugout.GitAuth{Username: "u", Password: "p"}
	for _, c := range []struct {
		want string
		call func() error
	}{
		{`POST /git/clone {"url":"h/x","path":"r"}`, func() error { return g.Clone(ctx, "h/x", "r", dugout.CloneOptions{}) }},
		{`POST /git/clone {"url":"h/x","path":"r","branch":"b","commit_id":"c","username":"u","password":"p","insecure_skip_tls":true,"depth":3}`,
			func() error {
				return g.Clone(ctx, "h/x", "r", dugout.CloneOptions{Branch: "b", Commit: "c", Depth: 3, Auth: auth, InsecureSkipTLS: true})
			}},
		{`POST /git/init {"path":"r","initial_branch":"main"}`, func() error { return g.Init(ctx, "r", "main", false) }},
		{`GET /git/status?path=r+x`, func() error { _, err := g.Status(ctx, "r x"); return err }},
		{`GET /git/branches?path=r`, func() error { _, err := g.Branches(ctx, "r"); return err }},
		{`POST /git/branches {"path":"r","name":"b"}`, func() error { return g.CreateBranch(ctx, "r", "b") }},
		{`DELETE /git/branches {"path":"r","name":"b"}`, func() error { return g.DeleteBranch(ctx, "r", "b") }},
		{`POST /git/checkout {"path":"r","branch":"b"}`, func() error { return g.Checkout(ctx, "r", "b") }},
		{`POST /git/add {"path":"r","files":["a","b"]}`, func() error { return g.Add(ctx, "r", "a", "b") }},
		{`POST /git/add {"path":"r","files":[]}`, func() error { return g.Add(ctx, "r") }},
		{`POST /git/commit {"path":"r","message":"m","author":"A","email":"e"}`, func() error {
			h, err := g.Commit(ctx, "r", "m", "A", "e")
			if h != "abc" {
				return fmt.Errorf("hash %q", h)
			}
			return err
		}},
		{`GET /git/history?limit=5&path=r`, func() error { _, err := g.History(ctx, "r", 5); return err }},
		{`GET /git/history?path=r`, func() error { _, err := g.History(ctx, "r", 0); return err }},
		{`POST /git/pull {"path":"r","username":"u","password":"p","branch":"b","remote":"o"}`, func() error {
			return g.Pull(ctx, "r", dugout.RemoteOptions{Remote: "o", Branch: "b", Auth: auth})
		}},
		{`POST /git/push {"path":"r","set_upstream":true}`, func() error { return g.Push(ctx, "r", dugout.RemoteOptions{SetUpstream: true}) }},
		{`POST /git/reset {"path":"r","mode":"hard","target":"HEAD~1"}`, func() error { return g.Reset(ctx, "r", "hard", "HEAD~1") }},
		{`POST /git/restore {"path":"r","files":["a"],"staged":true}`, func() error { return g.Restore(ctx, "r", true, "a") }},
		{`GET /git/remotes?path=r`, func() error { _, err := g.Remotes(ctx, "r"); return err }},
		{`POST /git/remotes {"path":"r","name":"o","url":"h/x","overwrite":true}`, func() error { return g.AddRemote(ctx, "r", "o", "h/x", true) }},
		{`GET /git/config?key=user.name&scope=global`, func() error {
			v, ok, err := g.Config(ctx, "", "user.name")
			if v != "Ann" || !ok {
				return fmt.Errorf("%q %v", v, ok)
			}
			return err
		}},
		{`GET /git/config?key=user.name&path=r&scope=local`, func() error { _, _, err := g.Config(ctx, "r", "user.name"); return err }},
		{`POST /git/config {"key":"a.b","value":"c","scope":"local","path":"r"}`, func() error { return g.SetConfig(ctx, "r", "a.b", "c") }},
		{`POST /git/credentials {"username":"u","password":"p","host":"h"}`, func() error { return g.StoreCredentials(ctx, "h", auth) }},
	} {
		if err := c.call(); err != nil {
			t.Errorf("%s: %v", c.want, err)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Error(diff)
		}
	}
}

func ExampleGit() {
	ctx := context.Background()
	client, err := dugout.New(dugout.Options{})
	if err != nil {
		log.Fatal(err)
	}
	sandbox, err := client.Get(ctx, "box")
	if err != nil {
		log.Fatal(err)
	}
	git := sandbox.Git()
	if err := git.Clone(ctx, "github.com/octocat/Hello-World", "hello", dugout.CloneOptions{Depth: 1}); err != nil {
		log.Fatal(err)
	}
	status, err := git.Status(ctx, "hello")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(status.CurrentBranch, len(status.FileStatus))
}
