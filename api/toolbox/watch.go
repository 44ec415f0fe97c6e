package toolbox

import "time"

// Kinds of a [WatchMessage].
const (
	WatchReady      = "ready"
	WatchChanges    = "changes"
	WatchOverflow   = "overflow"
	WatchIncomplete = "incomplete"
)

// WatchMessage is one message of GET /files/watch. An addition to the 0.x wire. More types may come: a client ignores those
// that it does not know.
type WatchMessage struct {
	Type        string       `json:"type" enum:"ready,changes,overflow,incomplete" doc:"ready: the first message, what happens from now on is told; changes: what happened; overflow: more happened than could be kept and some of it was lost, look at the files again; incomplete: a new directory is not watched."`
	Path        string       `json:"path,omitempty" doc:"ready: what is watched, as an absolute path; incomplete: the directory."`
	Directories int          `json:"directories,omitempty" doc:"ready: how many directories are watched."`
	Changes     []FileChange `json:"changes,omitempty" doc:"What happened, in order."`
	Message     string       `json:"message,omitempty" doc:"A sentence for a person, with overflow and incomplete."`
}

// Kinds of a [FileChange].
const (
	FileCreated  = "created"
	FileModified = "modified"
	FileRemoved  = "removed"
	FileRenamed  = "renamed"
)

// FileChange is what happened to one file or directory within some milliseconds.
type FileChange struct {
	Type    string    `json:"type" enum:"created,modified,removed,renamed" doc:"created: it is there now, made or moved here from outside; modified: written to; removed: gone, or moved outside; renamed: moved from oldPath."`
	Path    string    `json:"path" doc:"Absolute path."`
	OldPath string    `json:"oldPath,omitempty" doc:"Absolute path before, with renamed."`
	IsDir   bool      `json:"isDir" doc:"It is a directory."`
	Time    time.Time `json:"time" doc:"When the daemon saw the last part of it."`
}
