package toolbox

import "github.com/dugout-dev/dugout/api"

// FileInfo describes a file or a directory. Symbolic links are followed.
type FileInfo struct {
	Name        string `json:"name" doc:"Base name."`
	Path        string `json:"path,omitempty" doc:"Full path; only in listings that asked for a depth."`
	Size        int64  `json:"size" doc:"Size in bytes."`
	Mode        string `json:"mode" doc:"Type and permissions, as in -rw-r--r--."`
	ModTime     string `json:"modTime" doc:"Deprecated: time of the last change as Go prints it. Use modifiedAt."`
	ModifiedAt  string `json:"modifiedAt" format:"date-time" doc:"Time of the last change, RFC 3339."`
	IsDir       bool   `json:"isDir" doc:"It is a directory."`
	Owner       string `json:"owner" doc:"Numeric user id."`
	Group       string `json:"group" doc:"Numeric group id."`
	Permissions string `json:"permissions" doc:"Permission bits as four octal digits."`
}

// BulkDownload is the body of POST /files/bulk-download.
type BulkDownload struct {
	Paths []string `json:"paths" doc:"Files to send, in this order; at least one, at most 10000."`
}

// UploadedFile answers POST /files/upload-v2.
type UploadedFile struct {
	Name string `json:"name" doc:"Base name of the file."`
	Path string `json:"path" doc:"Absolute path of the file."`
	Type string `json:"type" doc:"Always file."`
}

// BulkUpload answers POST /files/bulk-upload. With errors in it, it comes with status 400.
type BulkUpload struct {
	Errors []string       `json:"errors,omitempty" doc:"One sentence for each file that failed."`
	Files  []BulkUploaded `json:"files" doc:"Files that were written, in the order of the request."`
}

// BulkUploaded is one file written by a bulk upload.
type BulkUploaded struct {
	Path  string `json:"path" doc:"Path as it was sent."`
	Bytes int64  `json:"bytes" doc:"Bytes written."`
}

// Search answers GET /files/search.
type Search struct {
	Files     []string `json:"files" doc:"Paths whose base name matches, sorted within each directory."`
	Truncated bool     `json:"truncated,omitempty" doc:"There were more than the limit of 100000 matches; absent otherwise."`
}

// Match is one line found by GET /files/find.
type Match struct {
	File    string `json:"file" doc:"Path of the file."`
	Line    int    `json:"line" doc:"Line number, from 1."`
	Content string `json:"content" doc:"The line, without its end."`
}

// Replace is the body of POST /files/replace.
type Replace struct {
	Files    []string `json:"files" doc:"Files to change; at most 10000."`
	Pattern  string   `json:"pattern" doc:"Text to look for, literally; not empty."`
	NewValue *string  `json:"newValue" doc:"Text to put in its place; may be empty."`
}

// Replaced is the outcome for one file of POST /files/replace.
type Replaced struct {
	File    string `json:"file" doc:"Path as it was sent."`
	Success bool   `json:"success" doc:"The file now holds no match; it is left untouched when it held none before."`
	Error   string `json:"error,omitempty" doc:"Why it failed."`
}

// Extracted answers POST /files/archive: what was written.
type Extracted struct {
	Path        string `json:"path" doc:"Absolute path of the directory that the archive was unpacked into."`
	Files       int64  `json:"files" doc:"Regular files and hard links written."`
	Directories int64  `json:"directories" doc:"Directories made; those that were there already are not counted."`
	Links       int64  `json:"links" doc:"Symbolic links made."`
	Bytes       int64  `json:"bytes" doc:"Bytes of all files written."`
	Skipped     Skips  `json:"skipped" doc:"What was left out."`
}

// Skips is what an archive was made or unpacked without.
type Skips struct {
	Count int64     `json:"count" doc:"How many entries were left out."`
	First []Skipped `json:"first,omitempty" doc:"The first of them, at most 20."`
}

// Skipped is one entry that was left out.
type Skipped struct {
	Path   string `json:"path" doc:"Name in the archive."`
	Reason string `json:"reason" doc:"Why."`
}

// ExtractFailed is the body of an error answer of POST /files/archive after something was written: what is in extracted
// stays where it is.
type ExtractFailed struct {
	api.Error
	Extracted Extracted `json:"extracted" doc:"What was written before the error; the entry that failed is not in it and left nothing behind."`
}
