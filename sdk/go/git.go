package dugout

import (
	"context"
	"net/url"
	"strconv"

	"github.com/dugout-dev/dugout/api/toolbox"
)

// Types of the git API, so that callers need no second import.
type (
	// GitStatus is the state of a repository.
	GitStatus = toolbox.GitStatus
	// GitBranches are the local branches of a repository.
	GitBranches = toolbox.GitBranches
	// GitCommitInfo is one commit of a history.
	GitCommitInfo = toolbox.GitCommitInfo
	// GitRemote is a remote of a repository.
	GitRemote = toolbox.GitRemote
)

// Git works on the repositories of a sandbox. Paths of repositories that are not absolute count from the sandbox's working
// directory. One that is no repository is an [ErrNotFound]; the Code of an [Error] tells failures apart, as GIT_AUTH_FAILED
// and GIT_PUSH_REJECTED. An operation that changes something goes on when its context ends.
type Git struct{ sandbox *Sandbox }

// Git returns the repositories of the sandbox, which must be started.
func (s *Sandbox) Git() Git { return Git{s} }

// GitAuth is a user and a password or token for a remote, used for one operation and not stored. The zero value is none.
type GitAuth struct{ Username, Password string }

// CloneOptions of a clone; the zero value clones the remote's default branch.
type CloneOptions struct {
	Branch          string // or tag
	Commit          string // check it out, HEAD is then detached
	Depth           int    // commits of history; 0: all
	Auth            GitAuth
	InsecureSkipTLS bool // for this clone: do not check the server's certificate
}

func (g Git) post(ctx context.Context, path string, body, out any) error {
	return g.sandbox.inside(ctx, request{method: "POST", url: "/git/" + path, body: body}, out)
}

func (g Git) get(ctx context.Context, path string, q url.Values, out any) error {
	return g.sandbox.inside(ctx, request{method: "GET", url: "/git/" + path, query: q}, out)
}

// Clone clones the repository at address into path, which must not exist or be empty. A failed clone leaves nothing behind.
func (g Git) Clone(ctx context.Context, address, path string, o CloneOptions) error {
	return g.post(ctx, "clone", toolbox.GitClone{URL: address, Path: path, Branch: o.Branch, CommitID: o.Commit, Depth: o.Depth,
		Username: o.Auth.Username, Password: o.Auth.Password, InsecureSkipTLS: o.InsecureSkipTLS}, nil)
}

// Init makes a repository at path whose first branch is branch; "" leaves its name to git's configuration.
func (g Git) Init(ctx context.Context, path, branch string, bare bool) error {
	return g.post(ctx, "init", toolbox.GitInit{Path: path, InitialBranch: branch, Bare: bare}, nil)
}

// Status returns the state of a repository. One without commits is an [ErrNotFound].
func (g Git) Status(ctx context.Context, path string) (*GitStatus, error) {
	var out GitStatus
	if err := g.get(ctx, "status", url.Values{"path": {path}}, &out); err != nil {
		return nil, err
	}
	return &out, nil
}

// Branches returns the local branches.
func (g Git) Branches(ctx context.Context, path string) (*GitBranches, error) {
	var out GitBranches
	if err := g.get(ctx, "branches", url.Values{"path": {path}}, &out); err != nil {
		return nil, err
	}
	return &out, nil
}

// CreateBranch makes a branch and checks it out.
func (g Git) CreateBranch(ctx context.Context, path, name string) error {
	return g.post(ctx, "branches", toolbox.GitBranch{Path: path, Name: name}, nil)
}

// DeleteBranch deletes a local branch, merged or not; the one that is checked out is an [ErrConflict].
func (g Git) DeleteBranch(ctx context.Context, path, name string) error {
	return g.sandbox.inside(ctx, request{method: "DELETE", url: "/git/branches", body: toolbox.GitBranch{Path: path, Name: name}}, nil)
}

// Checkout checks out a branch, or a commit or tag, which detaches HEAD.
func (g Git) Checkout(ctx context.Context, path, rev string) error {
	return g.post(ctx, "checkout", toolbox.GitCheckout{Path: path, Branch: rev}, nil)
}

// Add stages files, given relative to the repository; "." is all of them.
func (g Git) Add(ctx context.Context, path string, files ...string) error {
	if files == nil {
		files = []string{}
	}
	return g.post(ctx, "add", toolbox.GitAdd{Path: path, Files: files}, nil)
}

// Commit commits what is staged and returns the id of the commit. With nothing staged it is an [ErrConflict].
func (g Git) Commit(ctx context.Context, path, message, author, email string) (string, error) {
	var out toolbox.GitCommitted
	err := g.post(ctx, "commit", toolbox.GitCommit{Path: path, Message: message, Author: author, Email: email}, &out)
	return out.Hash, err
}

// History returns the commits of HEAD, newest first, at most limit of them; 0: all.
func (g Git) History(ctx context.Context, path string, limit int) ([]GitCommitInfo, error) {
	q := url.Values{"path": {path}}
	if limit > 0 {
		q.Set("limit", strconv.Itoa(limit))
	}
	var out []GitCommitInfo
	err := g.get(ctx, "history", q, &out)
	return out, err
}

// RemoteOptions of a pull or a push; the zero value is the remote origin and the current branch, without credentials.
type RemoteOptions struct {
	Remote, Branch string
	Auth           GitAuth
	SetUpstream    bool // of a push
}

// Pull fetches a branch and moves the current one forward to it. Where that would need a merge it is an [ErrConflict].
func (g Git) Pull(ctx context.Context, path string, o RemoteOptions) error {
	return g.post(ctx, "pull", toolbox.GitPull{Path: path, Remote: o.Remote, Branch: o.Branch, Username: o.Auth.Username, Password: o.Auth.Password}, nil)
}

// Push pushes a branch to the same name.
func (g Git) Push(ctx context.Context, path string, o RemoteOptions) error {
	return g.post(ctx, "push", toolbox.GitPush{Path: path, Remote: o.Remote, Branch: o.Branch, Username: o.Auth.Username, Password: o.Auth.Password, SetUpstream: o.SetUpstream}, nil)
}

// Reset resets HEAD to a revision; mode is soft, mixed, hard, merge or keep.
func (g Git) Reset(ctx context.Context, path, mode, rev string) error {
	return g.post(ctx, "reset", toolbox.GitReset{Path: path, Mode: mode, Target: rev}, nil)
}

// Restore restores files of the working tree from the index, or, with staged, of the index from HEAD.
func (g Git) Restore(ctx context.Context, path string, staged bool, files ...string) error {
	return g.post(ctx, "restore", toolbox.GitRestore{Path: path, Files: files, Staged: &staged}, nil)
}

// Remotes returns the remotes, sorted by name.
func (g Git) Remotes(ctx context.Context, path string) ([]GitRemote, error) {
	var out toolbox.GitRemotes
	err := g.get(ctx, "remotes", url.Values{"path": {path}}, &out)
	return out.Remotes, err
}

// AddRemote adds a remote; with overwrite it may give an existing one a new address.
func (g Git) AddRemote(ctx context.Context, path, name, address string, overwrite bool) error {
	return g.post(ctx, "remotes", toolbox.GitAddRemote{Path: path, Name: name, URL: address, Overwrite: overwrite}, nil)
}

// Config returns a setting, and whether it is set: of the repository at path, or of the user where path is "".
func (g Git) Config(ctx context.Context, path, key string) (string, bool, error) {
	q := url.Values{"key": {key}, "scope": {scope(path)}}
	if path != "" {
		q.Set("path", path)
	}
	var out toolbox.GitConfigValue
	if err := g.get(ctx, "config", q, &out); err != nil || out.Value == nil {
		return "", false, err
	}
	return *out.Value, true, nil
}

// SetConfig changes a setting: of the repository at path, or of the user where path is "".
func (g Git) SetConfig(ctx context.Context, path, key, value string) error {
	return g.post(ctx, "config", toolbox.GitSetConfig{Key: key, Value: value, Scope: scope(path), Path: path}, nil)
}

func scope(path string) string {
	if path == "" {
		return "global"
	}
	return "local"
}

// StoreCredentials keeps credentials for a host, as github.com, in the sandbox, as plain text: everything that runs there as
// its user can read them. Prefer those of [CloneOptions] and [RemoteOptions].
func (g Git) StoreCredentials(ctx context.Context, host string, auth GitAuth) error {
	return g.post(ctx, "credentials", toolbox.GitCredentials{Host: host, Username: auth.Username, Password: auth.Password}, nil)
}
