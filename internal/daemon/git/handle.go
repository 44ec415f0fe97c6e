//go:build linux

package git

import (
	"context"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/daemon/caller"
	"github.com/dugout-dev/dugout/internal/daemon/git/op"
	"github.com/dugout-dev/dugout/internal/errs"
	"github.com/dugout-dev/dugout/internal/rest"
)

// maxMessage limits the message of a commit, in bytes.
const maxMessage = 512 << 10

const codeBody = "INVALID_REQUEST_BODY"

// required names the first of these body fields that is empty: name, value, name, value.
func required(pairs ...string) error {
	for ; len(pairs) > 1; pairs = pairs[2:] {
		if pairs[1] == "" {
			return errs.New(errs.Invalid, "%s is required and must not be empty", pairs[0]).WithCode(codeBody)
		}
	}
	return nil
}

// resolve makes the path of a repository absolute. ~ is a name like any other.
func (h *Handler) resolve(path string) (string, error) {
	switch {
	case len(path) > op.MaxPath:
		return "", errs.New(errs.Invalid, "path is %d bytes long, the limit is %d", len(path), op.MaxPath)
	case strings.IndexByte(path, 0) >= 0:
		return "", errs.New(errs.Invalid, "path must not contain a NUL byte")
	}
	if !filepath.IsAbs(path) {
		path = h.Workdir + "/" + path
	}
	return filepath.Clean(path), nil
}

// simple carries out an operation that answers nothing.
func (h *Handler) simple(ctx context.Context, r *op.Request) (rest.None, error) {
	_, err := h.do(ctx, r, nil)
	return rest.None{}, err
}

type cloneIn struct{ Body toolbox.GitClone }

func (h *Handler) clone(ctx context.Context, in *cloneIn) (rest.None, error) {
	b := in.Body
	if err := required("url", b.URL, "path", b.Path); err != nil {
		return rest.None{}, err
	}
	dir, err := h.resolve(b.Path)
	if err != nil {
		return rest.None{}, err
	}
	u, auth, err := op.ParseURL(b.URL, h.Workdir)
	if err != nil {
		return rest.None{}, err
	}
	given, err := op.CheckAuth(b.Username, b.Password)
	if err != nil {
		return rest.None{}, err
	}
	if given != nil {
		auth = given
	} else if auth != nil {
		if auth, err = op.CheckAuth(auth.Username, auth.Password); err != nil {
			return rest.None{}, err
		}
	}
	if b.Branch != "" {
		if err := op.BranchName(b.Branch); err != nil {
			return rest.None{}, err
		}
	}
	if b.CommitID != "" {
		if err := op.Revision("commit_id", b.CommitID); err != nil {
			return rest.None{}, err
		}
	}
	if b.Depth < 0 || b.Depth > 1<<30 {
		return rest.None{}, errs.New(errs.Invalid, "depth must be from 0 to %d, got %d", 1<<30, b.Depth)
	}
	return h.simple(ctx, &op.Request{Kind: op.Clone, Dir: dir, URL: u, Auth: auth, Branch: b.Branch, Rev: b.CommitID, SkipTLS: b.InsecureSkipTLS, Depth: b.Depth})
}

type repoIn struct {
	Path string `query:"path" required:"true" doc:"Directory of the repository."`
}

func (h *Handler) status(w http.ResponseWriter, r *http.Request, in *repoIn) error {
	dir, err := h.resolve(in.Path)
	if err != nil {
		return err
	}
	res, err := h.do(r.Context(), &op.Request{Kind: op.Status, Dir: dir}, nil)
	if err != nil {
		return err
	}
	st := res.Status
	if st.FileStatus == nil {
		st.FileStatus = []toolbox.GitFileStatus{}
	}
	if caller.Of(r).Strict() {
		st.Detached, st.Upstream = nil, nil
	}
	h.Edge.Write(w, http.StatusOK, st)
	return nil
}

func (h *Handler) branches(w http.ResponseWriter, r *http.Request, in *repoIn) error {
	dir, err := h.resolve(in.Path)
	if err != nil {
		return err
	}
	res, err := h.do(r.Context(), &op.Request{Kind: op.Branches, Dir: dir}, nil)
	if err != nil {
		return err
	}
	out := toolbox.GitBranches{Branches: res.Branches, Current: &res.Current}
	if out.Branches == nil {
		out.Branches = []string{}
	}
	if caller.Of(r).Strict() {
		out.Current = nil
	}
	h.Edge.Write(w, http.StatusOK, out)
	return nil
}

type branchIn struct{ Body toolbox.GitBranch }

func (h *Handler) branch(ctx context.Context, kind op.Kind, b toolbox.GitBranch) (rest.None, error) {
	if err := required("path", b.Path, "name", b.Name); err != nil {
		return rest.None{}, err
	}
	dir, err := h.resolve(b.Path)
	if err != nil {
		return rest.None{}, err
	}
	if err := op.BranchName(b.Name); err != nil {
		return rest.None{}, err
	}
	return h.simple(ctx, &op.Request{Kind: kind, Dir: dir, Branch: b.Name})
}

func (h *Handler) createBranch(ctx context.Context, in *branchIn) (rest.None, error) {
	return h.branch(ctx, op.CreateBranch, in.Body)
}

func (h *Handler) deleteBranch(ctx context.Context, in *branchIn) (rest.None, error) {
	return h.branch(ctx, op.DeleteBranch, in.Body)
}

type checkoutIn struct{ Body toolbox.GitCheckout }

func (h *Handler) checkout(ctx context.Context, in *checkoutIn) (rest.None, error) {
	b := in.Body
	if err := required("path", b.Path, "branch", b.Branch); err != nil {
		return rest.None{}, err
	}
	dir, err := h.resolve(b.Path)
	if err != nil {
		return rest.None{}, err
	}
	if err := op.Revision("branch", b.Branch); err != nil {
		return rest.None{}, err
	}
	return h.simple(ctx, &op.Request{Kind: op.Checkout, Dir: dir, Rev: b.Branch})
}

type addIn struct{ Body toolbox.GitAdd }

func (h *Handler) add(ctx context.Context, in *addIn) (rest.None, error) {
	b := in.Body
	if err := required("path", b.Path); err != nil {
		return rest.None{}, err
	}
	if b.Files == nil {
		return rest.None{}, errs.New(errs.Invalid, "files is required").WithCode(codeBody)
	}
	dir, err := h.resolve(b.Path)
	if err != nil {
		return rest.None{}, err
	}
	files, err := op.Files(dir, b.Files)
	if err != nil {
		return rest.None{}, err
	}
	return h.simple(ctx, &op.Request{Kind: op.Add, Dir: dir, Files: files})
}

type commitIn struct{ Body toolbox.GitCommit }

func (h *Handler) commit(ctx context.Context, in *commitIn) (toolbox.GitCommitted, error) {
	b := in.Body
	if err := required("path", b.Path, "message", b.Message, "author", b.Author, "email", b.Email); err != nil {
		return toolbox.GitCommitted{}, err
	}
	dir, err := h.resolve(b.Path)
	if err != nil {
		return toolbox.GitCommitted{}, err
	}
	if err := op.Identity("author", b.Author); err != nil {
		return toolbox.GitCommitted{}, err
	}
	if err := op.Identity("email", b.Email); err != nil {
		return toolbox.GitCommitted{}, err
	}
	if len(b.Message) > maxMessage || strings.IndexByte(b.Message, 0) >= 0 {
		return toolbox.GitCommitted{}, errs.New(errs.Invalid, "message must be at most %d bytes without a NUL byte", maxMessage)
	}
	res, err := h.do(ctx, &op.Request{Kind: op.Commit, Dir: dir, Message: b.Message, Name: b.Author, Email: b.Email, Empty: b.AllowEmpty}, nil)
	if err != nil {
		return toolbox.GitCommitted{}, err
	}
	return toolbox.GitCommitted{Hash: res.Hash}, nil
}

type pullIn struct{ Body toolbox.GitPull }

func (h *Handler) pull(ctx context.Context, in *pullIn) (rest.None, error) {
	b := in.Body
	r, err := h.talk(op.Pull, b.Path, b.Branch, b.Remote, b.Username, b.Password)
	if err != nil {
		return rest.None{}, err
	}
	return h.simple(ctx, r)
}

type pushIn struct{ Body toolbox.GitPush }

func (h *Handler) push(ctx context.Context, in *pushIn) (rest.None, error) {
	b := in.Body
	r, err := h.talk(op.Push, b.Path, b.Branch, b.Remote, b.Username, b.Password)
	if err != nil {
		return rest.None{}, err
	}
	r.Upstream = b.SetUpstream
	return h.simple(ctx, r)
}

// talk checks what a pull and a push have in common.
func (h *Handler) talk(kind op.Kind, path, branch, remote, username, password string) (*op.Request, error) {
	if err := required("path", path); err != nil {
		return nil, err
	}
	dir, err := h.resolve(path)
	if err != nil {
		return nil, err
	}
	if branch != "" {
		if err := op.BranchName(branch); err != nil {
			return nil, err
		}
	}
	if remote == "" {
		remote = "origin"
	}
	if err := op.RemoteName(remote); err != nil {
		return nil, err
	}
	auth, err := op.CheckAuth(username, password)
	if err != nil {
		return nil, err
	}
	return &op.Request{Kind: kind, Dir: dir, Branch: branch, Remote: remote, Auth: auth}, nil
}

type initIn struct{ Body toolbox.GitInit }

func (h *Handler) init(ctx context.Context, in *initIn) (rest.None, error) {
	b := in.Body
	if err := required("path", b.Path); err != nil {
		return rest.None{}, err
	}
	dir, err := h.resolve(b.Path)
	if err != nil {
		return rest.None{}, err
	}
	if b.InitialBranch != "" {
		if err := op.BranchName(b.InitialBranch); err != nil {
			return rest.None{}, err
		}
	}
	return h.simple(ctx, &op.Request{Kind: op.Init, Dir: dir, Bare: b.Bare, Branch: b.InitialBranch})
}

type resetIn struct{ Body toolbox.GitReset }

var resetModes = []string{"soft", "mixed", "hard", "merge", "keep"}

func (h *Handler) reset(ctx context.Context, in *resetIn) (rest.None, error) {
	b := in.Body
	if err := required("path", b.Path); err != nil {
		return rest.None{}, err
	}
	dir, err := h.resolve(b.Path)
	if err != nil {
		return rest.None{}, err
	}
	r := &op.Request{Kind: op.Reset, Dir: dir, Mode: b.Mode, Rev: b.Target}
	if r.Mode == "" {
		r.Mode = "mixed"
	}
	if !slices.Contains(resetModes, r.Mode) {
		return rest.None{}, errs.New(errs.Invalid, "mode must be one of %s, got %q", strings.Join(resetModes, ", "), op.Clip(b.Mode))
	}
	if r.Rev == "" {
		r.Rev = "HEAD"
	}
	if err := op.Revision("target", r.Rev); err != nil {
		return rest.None{}, err
	}
	if len(b.Files) > 0 && r.Mode != "mixed" {
		return rest.None{}, errs.New(errs.Invalid, "files can be reset with the mode mixed only, got %q", b.Mode)
	}
	if r.Files, err = op.Files(dir, b.Files); err != nil {
		return rest.None{}, err
	}
	return h.simple(ctx, r)
}

type restoreIn struct{ Body toolbox.GitRestore }

func (h *Handler) restore(ctx context.Context, in *restoreIn) (rest.None, error) {
	b := in.Body
	if err := required("path", b.Path); err != nil {
		return rest.None{}, err
	}
	if len(b.Files) == 0 {
		return rest.None{}, errs.New(errs.Invalid, "files is required and must not be empty").WithCode(codeBody)
	}
	dir, err := h.resolve(b.Path)
	if err != nil {
		return rest.None{}, err
	}
	r := &op.Request{Kind: op.Restore, Dir: dir, Rev: b.Source, Staged: b.Staged != nil && *b.Staged}
	r.Worktree = !r.Staged
	if b.Worktree != nil {
		r.Worktree = *b.Worktree
	}
	if !r.Staged && !r.Worktree {
		return rest.None{}, errs.New(errs.Invalid, "one of staged and worktree must be true")
	}
	if r.Rev != "" {
		if err := op.Revision("source", r.Rev); err != nil {
			return rest.None{}, err
		}
	}
	if r.Files, err = op.Files(dir, b.Files); err != nil {
		return rest.None{}, err
	}
	return h.simple(ctx, r)
}

func (h *Handler) remotes(ctx context.Context, in *repoIn) (toolbox.GitRemotes, error) {
	dir, err := h.resolve(in.Path)
	if err != nil {
		return toolbox.GitRemotes{}, err
	}
	res, err := h.do(ctx, &op.Request{Kind: op.Remotes, Dir: dir}, nil)
	if err != nil {
		return toolbox.GitRemotes{}, err
	}
	if res.Remotes == nil {
		res.Remotes = []toolbox.GitRemote{}
	}
	return toolbox.GitRemotes{Remotes: res.Remotes}, nil
}

type addRemoteIn struct{ Body toolbox.GitAddRemote }

func (h *Handler) addRemote(ctx context.Context, in *addRemoteIn) (rest.None, error) {
	b := in.Body
	if err := required("path", b.Path, "name", b.Name, "url", b.URL); err != nil {
		return rest.None{}, err
	}
	dir, err := h.resolve(b.Path)
	if err != nil {
		return rest.None{}, err
	}
	if err := op.RemoteName(b.Name); err != nil {
		return rest.None{}, err
	}
	u, auth, err := op.ParseURL(b.URL, dir)
	if err != nil {
		return rest.None{}, err
	}
	if auth != nil {
		return rest.None{}, errs.New(errs.Invalid, "url must not contain a password: the configuration of a repository is no place for it; give it with each pull and push, or store it with /git/credentials")
	}
	return h.simple(ctx, &op.Request{Kind: op.AddRemote, Dir: dir, Remote: b.Name, URL: u, Fetch: b.Fetch, Replace: b.Overwrite})
}

type getConfigIn struct {
	Key   string `query:"key" required:"true" doc:"Name of the setting, as in user.name."`
	Scope string `query:"scope" doc:"global, local or system; absent: global."`
	Path  string `query:"path" doc:"Directory of the repository, for the scope local."`
}

func (h *Handler) getConfig(ctx context.Context, in *getConfigIn) (toolbox.GitConfigValue, error) {
	r, err := h.config(op.GetConfig, in.Scope, in.Path, op.Setting{Key: in.Key})
	if err != nil {
		return toolbox.GitConfigValue{}, err
	}
	res, err := h.do(ctx, r, nil)
	if err != nil {
		return toolbox.GitConfigValue{}, err
	}
	return toolbox.GitConfigValue{Value: res.Value}, nil
}

type setConfigIn struct{ Body toolbox.GitSetConfig }

func (h *Handler) setConfig(ctx context.Context, in *setConfigIn) (rest.None, error) {
	b := in.Body
	if err := required("key", b.Key, "value", b.Value); err != nil {
		return rest.None{}, err
	}
	r, err := h.config(op.SetConfig, b.Scope, b.Path, op.Setting{Key: b.Key, Value: b.Value})
	if err != nil {
		return rest.None{}, err
	}
	return h.simple(ctx, r)
}

type userIn struct{ Body toolbox.GitUser }

func (h *Handler) configureUser(ctx context.Context, in *userIn) (rest.None, error) {
	b := in.Body
	if err := required("name", b.Name, "email", b.Email); err != nil {
		return rest.None{}, err
	}
	if err := op.Identity("name", b.Name); err != nil {
		return rest.None{}, err
	}
	if err := op.Identity("email", b.Email); err != nil {
		return rest.None{}, err
	}
	r, err := h.config(op.SetConfig, b.Scope, b.Path, op.Setting{Key: "user.name", Value: b.Name}, op.Setting{Key: "user.email", Value: b.Email})
	if err != nil {
		return rest.None{}, err
	}
	return h.simple(ctx, r)
}

var scopes = []string{"global", "local", "system"}

func (h *Handler) config(kind op.Kind, scope, path string, settings ...op.Setting) (*op.Request, error) {
	if scope == "" {
		scope = "global"
	}
	if !slices.Contains(scopes, scope) {
		return nil, errs.New(errs.Invalid, "scope must be one of %s, got %q", strings.Join(scopes, ", "), op.Clip(scope))
	}
	for _, s := range settings {
		if err := op.ConfigKey(s.Key); err != nil {
			return nil, err
		}
		if len(s.Value) > op.MaxValue || strings.IndexByte(s.Value, 0) >= 0 {
			return nil, errs.New(errs.Invalid, "value must be at most %d bytes without a NUL byte", op.MaxValue)
		}
	}
	r := &op.Request{Kind: kind, Dir: h.Workdir, Scope: scope, Settings: settings}
	if scope != "local" {
		return r, nil
	}
	if path == "" {
		return nil, errs.New(errs.Invalid, "path is required for the scope local")
	}
	var err error
	r.Dir, err = h.resolve(path)
	return r, err
}

type credentialsIn struct{ Body toolbox.GitCredentials }

var hostName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[0-9]{1,5})?$`)

func (h *Handler) authenticate(ctx context.Context, in *credentialsIn) (rest.None, error) {
	b := in.Body
	if err := required("username", b.Username, "password", b.Password); err != nil {
		return rest.None{}, err
	}
	auth, err := op.CheckAuth(b.Username, b.Password)
	if err != nil {
		return rest.None{}, err
	}
	if b.Host == "" {
		b.Host = "github.com"
	}
	if b.Protocol == "" {
		b.Protocol = "https"
	}
	if b.Protocol != "https" && b.Protocol != "http" {
		return rest.None{}, errs.New(errs.Invalid, "protocol must be https or http, got %q", op.Clip(b.Protocol))
	}
	if len(b.Host) > 255 || !hostName.MatchString(b.Host) {
		return rest.None{}, errs.New(errs.Invalid, "host must be a host name, and a port where it has one, got %q", op.Clip(b.Host))
	}
	origin := b.Protocol + "://" + strings.ToLower(b.Host)
	return h.simple(ctx, &op.Request{Kind: op.Store, Dir: h.Workdir, Scope: "global", URL: &op.URL{Text: origin, Origin: origin}, Auth: auth})
}
