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
		rest.Stream("GET", "/files/archive", "DownloadArchive", h.pack, tag, rest.Returns("application/octet-stream"),
			rest.Summary("Download a directory as one archive"),
			rest.Description("Streamed, in the order of names. Symbolic links are packed as links, never followed; hard links as files of their own; sockets, pipes, devices, the kernel's own file systems and what cannot be read are left out: the trailers X-Dugout-Skipped and X-Dugout-Skipped-Paths tell how many and the first of them. A file that shrinks while it is sent, a directory of more than 100000 entries and a zip of more than 100000 cut the answer. At most 4 archives at a time; then 429.")),
		rest.Stream("POST", "/files/archive", "UploadArchive", h.unpack, tag, rest.Accepts("application/octet-stream"), rest.MaxBody(-1), rest.Answers[toolbox.Extracted](),
			rest.Summary("Upload an archive and unpack it"),
			rest.Description("Made for archives from anywhere: nothing is written outside the directory, neither by its name nor through a link, and an entry that tries ends the request. Devices, pipes and sockets are left out; owners and the set-id bits are not taken over. At most 1000000 entries (zip: 100000) and maxBytes in all; without maxBytes also no more than 250 times what was sent, beyond 64 MiB. Files that are there are replaced, directories are merged. An error in the middle tells in extracted what was written before it.")),
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
