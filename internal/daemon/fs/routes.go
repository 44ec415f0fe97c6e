//go:build linux

package fs

import (
	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/rest"
)

// Routes lists the operations. A nil handler will do for describing them.
func (h *Handler) Routes() []rest.Route {
	tag := rest.Tag("file-system")
	return []rest.Route{
		rest.Typed("GET", "/files", "ListFiles", h.list, tag, rest.Summary("List a directory"),
			rest.Description("Symbolic links are followed for what is told about an entry, not for going deeper. More than 100000 entries are an error.")),
		rest.Typed("GET", "/files/{$}", "ListFilesSlash", h.list, tag, rest.Summary("List a directory"), rest.Deprecated()),
		rest.Typed("DELETE", "/files", "DeleteFile", h.remove, tag, rest.Status(204), rest.Summary("Delete a file or a directory")),
		rest.Typed("DELETE", "/files/{$}", "DeleteFileSlash", h.remove, tag, rest.Status(204), rest.Summary("Delete a file or a directory"), rest.Deprecated()),
		rest.Typed("GET", "/files/info", "GetFileInfo", h.info, tag, rest.Summary("Describe a file or a directory")),
		rest.Stream("GET", "/files/download", "DownloadFile", h.download, tag, rest.Returns("application/octet-stream"),
			rest.Summary("Download a file"), rest.Description("Answers Range and conditional requests.")),
		rest.Stream("POST", "/files/bulk-download", "DownloadFiles", h.bulkDownload, tag, rest.Returns("multipart/form-data"), rest.MaxBody(maxPaths*maxPath),
			rest.Summary("Download several files"),
			rest.Description("One part for each path, in order: named file with the content, or named error with the reason as JSON. When reading fails in the middle, the answer is cut without its closing boundary.")),
		rest.Stream("POST", "/files/upload", "UploadFile", h.uploadForm, tag, rest.Accepts("multipart/form-data"), rest.MaxBody(-1), rest.Answers[rest.None](),
			rest.Summary("Upload a file as a form"), rest.Description("Directories above the file are made.")),
		rest.Stream("POST", "/files/upload-v2", "UploadFileV2", h.upload, tag, rest.Accepts("application/octet-stream"), rest.MaxBody(-1), rest.Answers[toolbox.UploadedFile](),
			rest.Summary("Upload a file"), rest.Description("The file is the body, or the field named file of a multipart form. Directories above it are made. A file that was there is replaced at once when all has arrived, or stays as it was.")),
		rest.Stream("POST", "/files/bulk-upload", "UploadFiles", h.bulkUpload, tag, rest.Accepts("multipart/form-data"), rest.MaxBody(-1), rest.Answers[toolbox.BulkUpload](),
			rest.Summary("Upload several files"), rest.Description("A form with the fields files[N].path and files[N].file; a path comes before its file.")),
		rest.Typed("POST", "/files/folder", "CreateFolder", h.folder, tag, rest.Status(201), rest.Summary("Make a directory, and those above it")),
		rest.Typed("POST", "/files/move", "MoveFile", h.move, tag, rest.Summary("Move or rename a file or a directory")),
		rest.Stream("GET", "/files/search", "SearchFiles", h.search, tag, rest.Answers[toolbox.Search](),
			rest.Summary("Find files by name"), rest.Description("The pattern is a shell glob for the base name. At most 100000 results; then truncated is true.")),
		rest.Stream("GET", "/files/find", "FindInFiles", h.find, tag, rest.Answers[[]toolbox.Match](),
			rest.Summary("Find text in files"),
			rest.Description("Plain text, no expression. Files that look binary are left out; a line over 64 KiB ends the search of its file. At most 100000 results or 32 MiB; then the header X-Dugout-Truncated is true.")),
		rest.Typed("POST", "/files/replace", "ReplaceInFiles", h.replace, tag, rest.MaxBody(maxPaths*maxPath), rest.Summary("Replace text in files")),
		rest.Typed("POST", "/files/permissions", "SetFilePermissions", h.permissions, tag, rest.Summary("Set owner, group and mode of a file")),
	}
}

// truncatedHeader tells that an answer which is a plain array was cut at its limit.
const truncatedHeader = "X-Dugout-Truncated"

type pathIn struct {
	Path string `query:"path" required:"true" doc:"Path of the file; a relative one starts at the working directory."`
}
