package toolbox

// GitClone is the body of POST /git/clone.
type GitClone struct {
	URL             string `json:"url" doc:"Address of the repository: https, http, ssh, git or file, user@host:path, or a path inside the sandbox. Without a scheme it gets https://. A user and password in it are used as if given apart, and are not kept."`
	Path            string `json:"path" doc:"Directory to clone into; it must not exist or be empty."`
	Branch          string `json:"branch,omitempty" doc:"Branch or tag to clone; absent: the remote's default branch."`
	CommitID        string `json:"commit_id,omitempty" doc:"Commit to check out after cloning; HEAD is then detached."`
	Username        string `json:"username,omitempty" doc:"User for the remote; used only together with password, and only for http and https."`
	Password        string `json:"password,omitempty" doc:"Password or token for the remote. It is not stored."`
	InsecureSkipTLS bool   `json:"insecure_skip_tls,omitempty" doc:"Do not check the server's certificate, for this clone only. Whoever stands between can then read the credentials."`
	Depth           int    `json:"depth,omitempty" minimum:"0" doc:"Number of commits of history to fetch; absent or 0: all."`
}

// GitStatus answers GET /git/status.
type GitStatus struct {
	CurrentBranch   string          `json:"currentBranch" doc:"Branch that is checked out; HEAD when it is detached."`
	FileStatus      []GitFileStatus `json:"fileStatus" doc:"Files that differ from the last commit or are not tracked, each untracked file by itself; sorted by name. Ignored files are left out."`
	BranchPublished bool            `json:"branchPublished" doc:"The branch has an upstream branch that exists."`
	Ahead           int             `json:"ahead" doc:"Commits that the upstream branch does not have, as of the last fetch."`
	Behind          int             `json:"behind" doc:"Commits of the upstream branch that the branch does not have, as of the last fetch."`
	Detached        *bool           `json:"detached,omitempty" doc:"HEAD is not on a branch. Absent only for old clients that reject unknown keys."`
	Upstream        *string         `json:"upstream,omitempty" doc:"Upstream branch, as in origin/main; empty when there is none. Absent only for old clients that reject unknown keys."`
}

// GitFileStatus is one file of a [GitStatus].
type GitFileStatus struct {
	Name     string `json:"name" doc:"Path below the repository's root. Bytes that are not UTF-8 come as U+FFFD."`
	Extra    string `json:"extra" doc:"Former path of a renamed or copied file; for an unmerged file how the two sides differ, as in both modified; for a submodule what changed in it; otherwise empty."`
	Staging  string `json:"staging" enum:"Unmodified,Untracked,Modified,Added,Deleted,Renamed,Copied,Updated but unmerged" doc:"Index against the last commit."`
	Worktree string `json:"worktree" enum:"Unmodified,Untracked,Modified,Added,Deleted,Renamed,Copied,Updated but unmerged" doc:"Working tree against the index."`
}

// Values of the two states of a [GitFileStatus].
const (
	GitUnmodified = "Unmodified"
	GitUntracked  = "Untracked"
	GitModified   = "Modified"
	GitAdded      = "Added"
	GitDeleted    = "Deleted"
	GitRenamed    = "Renamed"
	GitCopied     = "Copied"
	GitUnmerged   = "Updated but unmerged"
)

// GitBranches answers GET /git/branches.
type GitBranches struct {
	Branches []string `json:"branches" doc:"Local branches, sorted."`
	Current  *string  `json:"current,omitempty" doc:"Branch that is checked out; empty when HEAD is detached. Absent only for old clients that reject unknown keys."`
}

// GitBranch is the body of POST and DELETE /git/branches.
type GitBranch struct {
	Path string `json:"path" doc:"Directory of the repository."`
	Name string `json:"name" doc:"Name of the branch."`
}

// GitCheckout is the body of POST /git/checkout.
type GitCheckout struct {
	Path   string `json:"path" doc:"Directory of the repository."`
	Branch string `json:"branch" doc:"A local branch; else a branch of one remote, which gets a local branch that tracks it; else a commit or tag, which detaches HEAD."`
}

// GitAdd is the body of POST /git/add.
type GitAdd struct {
	Path  string   `json:"path" doc:"Directory of the repository."`
	Files []string `json:"files" doc:"Files and directories to stage, relative to the repository, literally; . for all. Deleted ones are staged as deletions. At most 10000."`
}

// GitCommit is the body of POST /git/commit.
type GitCommit struct {
	Path       string `json:"path" doc:"Directory of the repository."`
	Message    string `json:"message" doc:"Message, kept as it is."`
	Author     string `json:"author" doc:"Name of the author and committer."`
	Email      string `json:"email" doc:"Email address of the author and committer."`
	AllowEmpty bool   `json:"allow_empty,omitempty" doc:"Commit even when nothing is staged."`
}

// GitCommitted answers POST /git/commit.
type GitCommitted struct {
	Hash string `json:"hash" doc:"Id of the new commit."`
}

// GitCommitInfo is one commit of GET /git/history.
type GitCommitInfo struct {
	Hash      string `json:"hash" doc:"Id of the commit."`
	Author    string `json:"author" doc:"Name of the author."`
	Email     string `json:"email" doc:"Email address of the author."`
	Message   string `json:"message" doc:"Whole message."`
	Timestamp string `json:"timestamp" format:"date-time" doc:"When it was authored, RFC 3339 with the author's time zone."`
}

// GitPull is the body of POST /git/pull.
type GitPull struct {
	Path     string `json:"path" doc:"Directory of the repository."`
	Username string `json:"username,omitempty" doc:"User for the remote; used only together with password, and only for http and https."`
	Password string `json:"password,omitempty" doc:"Password or token for the remote. It is not stored."`
	Branch   string `json:"branch,omitempty" doc:"Branch of the remote; absent: the upstream branch of the current one, or the one of the same name."`
	Remote   string `json:"remote,omitempty" doc:"Name of the remote; absent: origin."`
}

// GitPush is the body of POST /git/push.
type GitPush struct {
	Path        string `json:"path" doc:"Directory of the repository."`
	Username    string `json:"username,omitempty" doc:"User for the remote; used only together with password, and only for http and https."`
	Password    string `json:"password,omitempty" doc:"Password or token for the remote. It is not stored."`
	Branch      string `json:"branch,omitempty" doc:"Local branch to push, to the same name; absent: the current one."`
	Remote      string `json:"remote,omitempty" doc:"Name of the remote; absent: origin."`
	SetUpstream bool   `json:"set_upstream,omitempty" doc:"Make the pushed branch the upstream branch."`
}

// GitInit is the body of POST /git/init.
type GitInit struct {
	Path          string `json:"path" doc:"Directory of the new repository; made when missing. One that is a repository stays as it is."`
	Bare          bool   `json:"bare,omitempty" doc:"Without a working tree."`
	InitialBranch string `json:"initial_branch,omitempty" doc:"Name of the first branch; absent: what git is configured for."`
}

// GitReset is the body of POST /git/reset.
type GitReset struct {
	Path   string   `json:"path" doc:"Directory of the repository."`
	Mode   string   `json:"mode,omitempty" doc:"soft, mixed, hard, merge or keep; absent: mixed."`
	Target string   `json:"target,omitempty" doc:"Revision to reset to; absent: HEAD."`
	Files  []string `json:"files,omitempty" doc:"Only these files, in the index; with the mode mixed alone. At most 10000."`
}

// GitRestore is the body of POST /git/restore.
type GitRestore struct {
	Path     string   `json:"path" doc:"Directory of the repository."`
	Files    []string `json:"files" doc:"Files and directories to restore, relative to the repository, literally. At least 1, at most 10000."`
	Staged   *bool    `json:"staged,omitempty" doc:"Restore the index."`
	Worktree *bool    `json:"worktree,omitempty" doc:"Restore the working tree; absent: true unless staged is."`
	Source   string   `json:"source,omitempty" doc:"Revision to restore from; absent: HEAD for the index, the index for the working tree."`
}

// GitRemotes answers GET /git/remotes.
type GitRemotes struct {
	Remotes []GitRemote `json:"remotes" doc:"Remotes, sorted by name."`
}

// GitRemote is one remote.
type GitRemote struct {
	Name string `json:"name" doc:"Name."`
	URL  string `json:"url" doc:"Address to fetch from, as configured; a password in it is left out."`
}

// GitAddRemote is the body of POST /git/remotes.
type GitAddRemote struct {
	Path      string `json:"path" doc:"Directory of the repository."`
	Name      string `json:"name" doc:"Name of the remote."`
	URL       string `json:"url" doc:"Its address, as for a clone, without a password."`
	Fetch     bool   `json:"fetch,omitempty" doc:"Fetch from it at once."`
	Overwrite bool   `json:"overwrite,omitempty" doc:"Give an existing remote of that name the new address."`
}

// GitConfigValue answers GET /git/config.
type GitConfigValue struct {
	Value *string `json:"value" doc:"The value, the last one where there are several; null when the key is not set."`
}

// GitSetConfig is the body of POST /git/config.
type GitSetConfig struct {
	Key   string `json:"key" doc:"Name of the setting, as in user.name."`
	Value string `json:"value" doc:"Its value; replaces all that are set."`
	Scope string `json:"scope,omitempty" doc:"global, local or system; absent: global."`
	Path  string `json:"path,omitempty" doc:"Directory of the repository, for the scope local."`
}

// GitUser is the body of POST /git/config/user.
type GitUser struct {
	Name  string `json:"name" doc:"Name for commits."`
	Email string `json:"email" doc:"Email address for commits."`
	Scope string `json:"scope,omitempty" doc:"global, local or system; absent: global."`
	Path  string `json:"path,omitempty" doc:"Directory of the repository, for the scope local."`
}

// GitCredentials is the body of POST /git/credentials.
type GitCredentials struct {
	Username string `json:"username" doc:"User."`
	Password string `json:"password" doc:"Password or token. It is stored as plain text in ~/.git-credentials, readable by the sandbox's user alone."`
	Host     string `json:"host,omitempty" doc:"Host, with a port where it has one; absent: github.com."`
	Protocol string `json:"protocol,omitempty" doc:"https or http; absent: https."`
}
