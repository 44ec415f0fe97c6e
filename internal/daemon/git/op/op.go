// Package op says what an operation on a repository is, between those who take requests and those who carry them out: the
// git program of the image (package cli) and, where the image has none, a library in a process of its own (package gogit).
// Both give the same results and the same errors.
package op

import (
	"context"

	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/errs"
)

// Kind is an operation.
type Kind string

// The operations.
const (
	Clone        Kind = "clone"
	Status       Kind = "status"
	Branches     Kind = "branches"
	CreateBranch Kind = "create-branch"
	DeleteBranch Kind = "delete-branch"
	Checkout     Kind = "checkout"
	Add          Kind = "add"
	Commit       Kind = "commit"
	History      Kind = "history"
	Pull         Kind = "pull"
	Push         Kind = "push"
	Init         Kind = "init"
	Reset        Kind = "reset"
	Restore      Kind = "restore"
	Remotes      Kind = "remotes"
	AddRemote    Kind = "add-remote"
	GetConfig    Kind = "get-config"
	SetConfig    Kind = "set-config"
	Store        Kind = "store-credentials"
)

// Reads reports whether the operation changes nothing.
func (k Kind) Reads() bool {
	switch k {
	case Status, Branches, History, Remotes, GetConfig:
		return true
	default:
		return false
	}
}

// Request is one operation. Everything in it has been checked: no name starts with a dash or holds a control character, paths
// are absolute, names of files are relative to the repository and stay in it, the URL is one of [ParseURL].
type Request struct {
	Kind Kind   `json:"kind"`
	Dir  string `json:"dir"` // of the repository; of the home for a global setting

	URL    *URL   `json:"url,omitempty"`
	Branch string `json:"branch,omitempty"` // or tag, where a clone is asked for
	Rev    string `json:"rev,omitempty"`    // any revision
	Remote string `json:"remote,omitempty"`
	Auth   *Auth  `json:"auth,omitempty"`

	SkipTLS  bool `json:"skipTLS,omitempty"`
	Depth    int  `json:"depth,omitempty"`
	Bare     bool `json:"bare,omitempty"`
	Upstream bool `json:"upstream,omitempty"` // set it
	Fetch    bool `json:"fetch,omitempty"`
	Replace  bool `json:"replace,omitempty"`
	Empty    bool `json:"empty,omitempty"` // allow it
	Staged   bool `json:"staged,omitempty"`
	Worktree bool `json:"worktree,omitempty"`
	Limit    int  `json:"limit,omitempty"` // commits; 0: all

	Files   []string `json:"files,omitempty"`
	Mode    string   `json:"mode,omitempty"`
	Message string   `json:"message,omitempty"`
	Name    string   `json:"name,omitempty"`
	Email   string   `json:"email,omitempty"`

	Scope    string    `json:"scope,omitempty"` // global, local or system
	Settings []Setting `json:"settings,omitempty"`
}

// Setting is one value of a configuration.
type Setting struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// Auth is a user and a password for one remote. It is never part of a command line, an environment or a log.
type Auth struct {
	Username string `json:"username"`
	Password string `json:"password"`
}

// String keeps a password out of every log.
func (Auth) String() string { return "credentials" }

// Result is what an operation answers; which field is set follows from its kind. A history goes to a function instead.
type Result struct {
	Status   *toolbox.GitStatus  `json:"status,omitempty"`
	Branches []string            `json:"branches,omitempty"`
	Current  string              `json:"current,omitempty"`
	Hash     string              `json:"hash,omitempty"`
	Remotes  []toolbox.GitRemote `json:"remotes,omitempty"`
	Value    *string             `json:"value,omitempty"`
}

// Backend carries out operations. An error is one of errs with a message that may be shown. commit gets the commits of a
// history, newest first; an error from it ends the operation.
type Backend interface {
	Do(ctx context.Context, r *Request, commit func(*toolbox.GitCommitInfo) error) (*Result, error)
}

// Codes of errors, on the 0.x wire.
const (
	CodeAuthFailed      = "GIT_AUTH_FAILED"
	CodeRepoNotFound    = "GIT_REPO_NOT_FOUND"
	CodeBranchNotFound  = "GIT_BRANCH_NOT_FOUND"
	CodeBranchExists    = "GIT_BRANCH_EXISTS"
	CodePushRejected    = "GIT_PUSH_REJECTED"
	CodeDirty           = "GIT_DIRTY_WORKTREE"
	CodeMergeConflict   = "GIT_MERGE_CONFLICT"
	CodeTransportFailed = "GIT_TRANSPORT_FAILED"
	CodeRemoteRejected  = "GIT_REMOTE_REJECTED"
	CodeFileNotFound    = "FILE_NOT_FOUND"
	CodeInternal        = "INTERNAL_SERVER_ERROR" // set, so that the message is shown
)

// MaxFileStatus limits the entries of a status. A repository with more is refused rather than told in part.
const MaxFileStatus = 200_000

// The errors that both backends give.

// NotRepository says that dir is no repository.
func NotRepository(dir string) error {
	return errs.New(errs.NotFound, "%s is not a git repository", Clip(dir)).WithCode(CodeRepoNotFound)
}

// NoCommits says that the repository in dir is new.
func NoCommits(dir string) error {
	return errs.New(errs.NotFound, "the repository %s has no commits yet", Clip(dir)).WithCode(CodeBranchNotFound)
}

// NoBranch says that a branch does not exist.
func NoBranch(name, where string) error {
	return errs.New(errs.NotFound, "no branch %q in %s", Clip(name), Clip(where)).WithCode(CodeBranchNotFound)
}

// NoRevision says that nothing has that name.
func NoRevision(name string) error {
	return errs.New(errs.NotFound, "no branch, tag or commit %q", Clip(name)).WithCode(CodeBranchNotFound)
}

// BranchExists says that the name is taken.
func BranchExists(name string) error {
	return errs.New(errs.Conflict, "the branch %q exists already", Clip(name)).WithCode(CodeBranchExists)
}

// CurrentBranch says that a branch cannot be deleted.
func CurrentBranch(name string) error {
	return errs.New(errs.Conflict, "the branch %q is checked out; check out another one before deleting it", Clip(name))
}

// Dirty says that an operation would overwrite local changes.
func Dirty(what string) error {
	return errs.New(errs.Conflict, "%s would overwrite local changes; commit them or reset them first", what).WithCode(CodeDirty)
}

// NothingStaged says that a commit would be empty.
func NothingStaged() error {
	return errs.New(errs.Conflict, "nothing is staged; add files first, or set allow_empty")
}

// Unmerged says that a merge is not finished.
func Unmerged() error {
	return errs.New(errs.Conflict, "there are unmerged files; resolve and add them first").WithCode(CodeMergeConflict)
}

// NoFile says that a name matches nothing.
func NoFile(name string) error {
	return errs.New(errs.NotFound, "no file %q in the repository", Clip(name)).WithCode(CodeFileNotFound)
}

// Ignored says that a file is not to be added.
func Ignored(name string) error {
	return errs.New(errs.Invalid, "%q is ignored by .gitignore", Clip(name))
}

// NotEmpty says that a clone has no room.
func NotEmpty(dir string) error {
	return errs.New(errs.Conflict, "%s exists already and is not an empty directory", Clip(dir))
}

// EmptyRemote says that there is nothing to clone or pull.
func EmptyRemote(url string) error {
	return errs.New(errs.NotFound, "the remote repository %s is empty; start one with init, a commit, and a push", Clip(url)).WithCode(CodeBranchNotFound)
}

// NoRemote says that there is no remote of that name.
func NoRemote(name string) error {
	return errs.New(errs.NotFound, "no remote %q", Clip(name))
}

// RemoteExists says that the name is taken.
func RemoteExists(name string) error {
	return errs.New(errs.Conflict, "the remote %q exists already; set overwrite to change it", Clip(name))
}

// NotFastForward says that a pull would have to merge.
func NotFastForward(branch string) error {
	return errs.New(errs.Conflict, "the branch and its remote branch %s have diverged; only a fast-forward is pulled", Clip(branch)).WithCode(CodeMergeConflict)
}

// PushRejected says that the remote has commits that are not here.
func PushRejected(branch, why string) error {
	return errs.New(errs.Conflict, "the push of %s was rejected: %s; pull first", Clip(branch), Clip(why)).WithCode(CodePushRejected)
}

// RemoteRejected says that the remote's rules refuse the push.
func RemoteRejected(branch, why string) error {
	return errs.New(errs.Unimplemented, "the remote refused the push of %s: %s", Clip(branch), Clip(why)).WithCode(CodeRemoteRejected)
}

// DetachedHead says that an operation needs a branch.
func DetachedHead(what string) error {
	return errs.New(errs.WrongState, "HEAD is not on a branch; name the branch to %s", what)
}

// TransportFailed says that the remote could not be reached.
func TransportFailed(why string) error {
	return errs.New(errs.Unreachable, "the remote could not be reached: %s", Clip(why)).WithCode(CodeTransportFailed)
}

// AuthFailed says that the remote wants other credentials.
func AuthFailed(url string) error {
	return errs.New(errs.Unauthenticated, "the remote %s asks for credentials or does not accept those given", Clip(url)).WithCode(CodeAuthFailed)
}

// Forbidden says that the remote knows the user and refuses.
func Forbidden(url string) error {
	return errs.New(errs.Denied, "the remote %s does not allow this to the user", Clip(url))
}

// RemoteNotFound says that there is no repository at url.
func RemoteNotFound(url string) error {
	return errs.New(errs.NotFound, "no repository at %s, or not for this user", Clip(url)).WithCode(CodeRepoNotFound)
}

// Unwritable says that a file of the sandbox cannot be written.
func Unwritable(what, why string) error {
	return errs.New(errs.Denied, "%s cannot be written: %s", Clip(what), Clip(why))
}

// Bare says that an operation needs a working tree.
func Bare(dir string) error {
	return errs.New(errs.WrongState, "%s is a bare repository: it has no working tree", Clip(dir))
}

// TooManyFiles says that a status is too large to tell.
func TooManyFiles() error {
	return errs.New(errs.TooLarge, "more than %d files differ; ignore or commit some of them", MaxFileStatus)
}

// Clip keeps a text from outside short enough for a message.
func Clip(s string) string {
	if len(s) > 300 {
		return s[:300] + "…"
	}
	return s
}
