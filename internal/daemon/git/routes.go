//go:build linux

// Package git serves operations on git repositories.
//
// They are carried out by the git program of the image, or, where the image has none, by dugoutd-git, a program that stands
// beside the daemon. Both answer alike; see package op for what an operation is.
//
// An operation that changes something goes on when its client leaves, up to [maxTime]: a clone that takes longer than a
// client's patience is not wasted. One that only reads ends with its client. Operations that change the same repository wait for
// each other.
package git

import (
	"log/slog"

	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/daemon/environ"
	"github.com/dugout-dev/dugout/internal/daemon/run"
	"github.com/dugout-dev/dugout/internal/rest"
)

// Handler serves the routes of this package.
type Handler struct {
	Log     *slog.Logger
	Runner  *run.Runner
	Env     *environ.Env
	Edge    *rest.Edge
	Workdir string // what relative paths start from
	Library string // path of dugoutd-git, for images without git

	works works
}

// Routes lists the operations. A nil handler will do for describing them.
func (h *Handler) Routes() []rest.Route {
	tag := rest.Tag("git")
	return []rest.Route{
		rest.Typed("POST", "/git/clone", "CloneRepository", h.clone, tag,
			rest.Summary("Clone a repository"),
			rest.Description("One branch is cloned, with its whole history unless a depth is given. A failed clone leaves nothing behind. The credentials are not stored.")),
		rest.Stream("GET", "/git/status", "GetStatus", h.status, tag, rest.Answers[toolbox.GitStatus](),
			rest.Summary("Get the status of a repository"),
			rest.Description("A repository without commits answers 404.")),
		rest.Stream("GET", "/git/branches", "ListBranches", h.branches, tag, rest.Answers[toolbox.GitBranches](),
			rest.Summary("List the local branches")),
		rest.Typed("POST", "/git/branches", "CreateBranch", h.createBranch, tag, rest.Status(201),
			rest.Summary("Create a branch and check it out")),
		rest.Typed("DELETE", "/git/branches", "DeleteBranch", h.deleteBranch, tag, rest.Status(204),
			rest.Summary("Delete a local branch"),
			rest.Description("Whether it is merged or not. The one that is checked out is refused.")),
		rest.Typed("POST", "/git/checkout", "CheckoutBranch", h.checkout, tag,
			rest.Summary("Check out a branch or a commit")),
		rest.Typed("POST", "/git/add", "AddFiles", h.add, tag,
			rest.Summary("Stage files")),
		rest.Typed("POST", "/git/commit", "CommitChanges", h.commit, tag,
			rest.Summary("Commit what is staged")),
		rest.Stream("GET", "/git/history", "GetCommitHistory", h.history, tag, rest.Answers[[]toolbox.GitCommitInfo](),
			rest.Summary("List the commits that HEAD has, newest first")),
		rest.Typed("POST", "/git/pull", "PullChanges", h.pull, tag,
			rest.Summary("Fetch a branch and move the current one forward to it"),
			rest.Description("Only a fast-forward is made. Being up to date is a success.")),
		rest.Typed("POST", "/git/push", "PushChanges", h.push, tag,
			rest.Summary("Push a branch to the same name")),
		rest.Typed("POST", "/git/init", "InitRepository", h.init, tag, rest.Status(201),
			rest.Summary("Make a repository")),
		rest.Typed("POST", "/git/reset", "ResetChanges", h.reset, tag,
			rest.Summary("Reset HEAD, the index and the working tree")),
		rest.Typed("POST", "/git/restore", "RestoreFiles", h.restore, tag,
			rest.Summary("Restore files of the working tree or the index")),
		rest.Typed("GET", "/git/remotes", "ListRemotes", h.remotes, tag,
			rest.Summary("List the remotes")),
		rest.Typed("POST", "/git/remotes", "AddRemote", h.addRemote, tag, rest.Status(201),
			rest.Summary("Add a remote")),
		rest.Typed("GET", "/git/config", "GetGitConfig", h.getConfig, tag,
			rest.Summary("Get a setting")),
		rest.Typed("POST", "/git/config", "SetGitConfig", h.setConfig, tag,
			rest.Summary("Change a setting")),
		rest.Typed("POST", "/git/config/user", "ConfigureUser", h.configureUser, tag,
			rest.Summary("Set the name and the email address for commits")),
		rest.Typed("POST", "/git/credentials", "Authenticate", h.authenticate, tag,
			rest.Summary("Store credentials for a host"),
			rest.Description("As plain text, in ~/.git-credentials. Everything in the sandbox that runs as its user can read them.")),
	}
}

// Close ends the operations that run and waits for them.
func (h *Handler) Close() { h.works.close() }
