//go:build linux

package desktop

import (
	"context"
	_ "embed"
	"net/http"
	"strings"

	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/daemon/desktop/record"
	"github.com/dugout-dev/dugout/internal/errs"
	"github.com/dugout-dev/dugout/internal/rest"
)

type recordingIn struct {
	ID string `path:"id" doc:"Id of the recording."`
}

type startRecordingIn struct{ Body toolbox.RecordingStart }

type stopRecordingIn struct{ Body toolbox.RecordingStop }

func (h *Handler) startRecording(ctx context.Context, in *startRecordingIn) (toolbox.Recording, error) {
	h.open()
	label, err := record.CheckLabel(in.Body.Label)
	if err != nil {
		e, _ := errs.As(err)
		return toolbox.Recording{}, &trouble{err: e.WithCode("BAD_REQUEST"), reason: "invalid_label", details: e.Message, solution: "use another label, or none"}
	}
	if h.program("ffmpeg") == "" {
		return toolbox.Recording{}, noFFmpeg()
	}
	w, ht, err := h.screen.Size(ctx)
	if err != nil {
		return toolbox.Recording{}, h.see(err)
	}
	rec, err := h.recorder.Start(context.WithoutCancel(ctx), h.display(), w, ht, label)
	if e, ok := errs.As(err); ok && e.Code == record.CodeNoFFmpeg {
		err = noFFmpeg()
	}
	return rec, err
}

func noFFmpeg() error {
	return &trouble{err: errs.New(errs.Unavailable, "ffmpeg is not installed in the sandbox").WithCode(record.CodeNoFFmpeg), reason: "ffmpeg_not_found",
		details: "missing: ffmpeg", solution: "create the sandbox from the snapshot desktop, or install it: apt-get install ffmpeg"}
}

func (h *Handler) stopRecording(_ context.Context, in *stopRecordingIn) (toolbox.Recording, error) {
	h.open()
	if in.Body.ID == "" {
		return toolbox.Recording{}, errs.New(errs.Invalid, "id is required")
	}
	return h.recorder.Stop(in.Body.ID)
}

func (h *Handler) recordings(context.Context, *none) (toolbox.Recordings, error) {
	h.open()
	list, err := h.recorder.List()
	return toolbox.Recordings{Recordings: list}, err
}

func (h *Handler) recording(_ context.Context, in *recordingIn) (toolbox.Recording, error) {
	h.open()
	return h.recorder.Get(in.ID)
}

func (h *Handler) deleteRecording(_ context.Context, in *recordingIn) (rest.None, error) {
	h.open()
	return rest.None{}, h.recorder.Delete(in.ID)
}

func (h *Handler) download(w http.ResponseWriter, r *http.Request, in *recordingIn) error {
	h.open()
	f, st, name, err := h.recorder.Open(in.ID)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	w.Header().Set("Content-Type", "video/mp4")
	w.Header().Set("Content-Disposition", `attachment; filename="`+strings.ReplaceAll(name, `"`, "")+`"`)
	http.ServeContent(w, r, "", st.ModTime(), f)
	return nil
}

//go:embed page.html
var page []byte

// pagePolicy lets the page ask this daemon alone, and nobody put it in a frame.
const pagePolicy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; media-src 'self' blob:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"

func (h *Handler) page(w http.ResponseWriter, _ *http.Request, _ *none) error {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", pagePolicy)
	w.Header().Set("Referrer-Policy", "no-referrer")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(page)
	return nil
}
