//go:build linux

// Package record films the screen with ffmpeg. The films are files in one directory of the sandbox's user, each with a small note
// beside it; the directory is the truth, nothing is kept in memory but what runs. A film can be played at any moment, also when its
// recorder was killed.
package record

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/daemon/run"
	"github.com/dugout-dev/dugout/internal/errs"
)

// Limits.
const (
	MaxActive = 4    // recordings at the same time
	MaxListed = 5000 // files of the directory that are looked at
	maxNote   = 4096 // bytes of a note

	stopWait  = 10 * time.Second // for ffmpeg to end a film
	beginWait = 5 * time.Second  // for the film's first bytes
	poll      = 10 * time.Millisecond
)

// Codes of the 0.x wire.
const (
	CodeActive   = "RECORDING_STILL_ACTIVE"
	CodeNoFFmpeg = "RECORDING_FFMPEG_NOT_FOUND"
)

// Recorder makes recordings and finds them again.
type Recorder struct {
	Runner *run.Runner
	Log    *slog.Logger
	FFmpeg func() string // path of the program, "" when there is none
	Env    func() []string
	Dir    func() string
	Work   func() string

	mu     sync.Mutex // guards the fields below; held for moments, and while frozen
	active map[string]*film
	closed bool
	keeps  sync.WaitGroup
}

// film is a recording that runs.
type film struct {
	note  note
	child *run.Child
	stop  bool          // somebody asked for its end
	done  chan struct{} // closed when its note says how it ended
}

// note is what stands beside a film.
type note struct {
	ID     string     `json:"id"`
	File   string     `json:"file"`
	Start  time.Time  `json:"start"`
	End    *time.Time `json:"end,omitempty"`
	Status string     `json:"status"`
}

// once compiles an expression when it is first used: a daemon that records nothing does not.
func once(expr string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expr) })
}

var (
	reLabel = once(`^[A-Za-z0-9_ -][A-Za-z0-9._ -]{0,99}$`)
	reID    = once(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)
	reFile  = once(`^[0-9a-f-]{36}_[A-Za-z0-9_ -][A-Za-z0-9._ -]{0,99}_[0-9]{8}_[0-9]{6}\.mp4$`)
)

// CheckLabel verifies a label that came with a request; empty is "session".
func CheckLabel(label string) (string, error) {
	if label == "" {
		return "session", nil
	}
	if !reLabel().MatchString(label) {
		return "", errs.New(errs.Invalid, "label must be at most 100 of A-Z a-z 0-9 . _ - and space, and not begin with a dot; it has %d bytes", len(label))
	}
	return label, nil
}

// Start begins a recording of a display that is width by height pixels, and returns when it has begun.
func (r *Recorder) Start(ctx context.Context, display string, width, height int, label string) (toolbox.Recording, error) {
	ffmpeg := r.FFmpeg()
	if ffmpeg == "" {
		return toolbox.Recording{}, errs.New(errs.Unavailable, "ffmpeg is not installed in the sandbox").WithCode(CodeNoFFmpeg)
	}
	if err := os.MkdirAll(r.Dir(), 0o755); err != nil {
		return toolbox.Recording{}, errs.Wrap(err, errs.Denied, "the directory %s cannot be made", r.Dir())
	}
	now := time.Now().UTC()
	id := newID()
	n := note{ID: id, File: id + "_" + label + "_" + now.Format("20060102_150405") + ".mp4", Start: now, Status: toolbox.RecordingRunning}
	f, err := r.begin(n, ffmpeg, display, width, height)
	if err != nil {
		return toolbox.Recording{}, err
	}
	if err := r.begun(ctx, f); err != nil {
		return toolbox.Recording{}, err
	}
	return r.describe(n, true), nil
}

func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// args of ffmpeg. The film is written in fragments of a second, each of which can be played without what follows.
func args(display string, width, height int, file string) []string {
	return []string{"ffmpeg", "-hide_banner", "-loglevel", "error", "-nostdin", "-y",
		"-f", "x11grab", "-framerate", "30", "-draw_mouse", "1", "-video_size", fmt.Sprintf("%dx%d", width, height), "-i", display,
		"-vf", "crop=trunc(iw/2)*2:trunc(ih/2)*2", "-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "30",
		"-movflags", "frag_keyframe+empty_moov+default_base_moof", "-flush_packets", "1", "-f", "mp4", file}
}

func (r *Recorder) begin(n note, ffmpeg, display string, width, height int) (*film, error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = null.Close() }()
	said, err := os.OpenFile(r.path(n.ID, ".err"), os.O_WRONLY|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o644)
	if err != nil {
		return nil, errs.Wrap(err, errs.Denied, "the directory %s cannot be written to", r.Dir())
	}
	defer func() { _ = said.Close() }()
	r.mu.Lock()
	defer r.mu.Unlock()
	fail := func(err error) (*film, error) {
		_ = os.Remove(said.Name())
		return nil, err
	}
	if r.closed {
		return fail(errs.New(errs.Unavailable, "the daemon is ending"))
	}
	if len(r.active) >= MaxActive {
		return fail(errs.New(errs.Conflict, "%d recordings run, which is the most at the same time; stop one first", len(r.active)))
	}
	if err := r.write(n); err != nil {
		return fail(err)
	}
	child, err := r.Runner.Spawn(ffmpeg, args(display, width, height, filepath.Join(r.Dir(), n.File)), &syscall.ProcAttr{Dir: r.Work(), Env: r.Env(),
		Files: []uintptr{null.Fd(), null.Fd(), said.Fd()}, Sys: &syscall.SysProcAttr{Setsid: true}})
	if err != nil {
		_ = os.Remove(r.path(n.ID, ".json"))
		return fail(errs.Wrap(err, errs.Unavailable, "ffmpeg cannot be started"))
	}
	return r.hold(n, child), nil
}

// hold keeps a film until its recorder ends. The caller holds mu.
func (r *Recorder) hold(n note, child *run.Child) *film {
	f := &film{note: n, child: child, done: make(chan struct{})}
	if r.active == nil {
		r.active = map[string]*film{}
	}
	r.active[n.ID] = f
	r.keeps.Add(1)
	go r.keep(f)
	return f
}

// keep notes how a film ended.
func (r *Recorder) keep(f *film) {
	defer r.keeps.Done()
	defer close(f.done)
	<-f.child.Done()
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now().UTC()
	f.note.End, f.note.Status = &now, toolbox.RecordingFailed
	if st, err := os.Stat(filepath.Join(r.Dir(), f.note.File)); f.stop && err == nil && st.Size() > 0 {
		f.note.Status = toolbox.RecordingCompleted
		_ = os.Remove(r.path(f.note.ID, ".err"))
	}
	if err := r.write(f.note); err != nil {
		r.Log.Warn("the end of a recording is not noted", "error", err)
	}
	delete(r.active, f.note.ID)
}

// begun waits until a film has its beginning.
func (r *Recorder) begun(ctx context.Context, f *film) error {
	ctx, cancel := context.WithTimeout(ctx, beginWait)
	defer cancel()
	t := time.NewTicker(poll)
	defer t.Stop()
	for {
		if st, err := os.Stat(filepath.Join(r.Dir(), f.note.File)); err == nil && st.Size() > 0 {
			return nil
		}
		select {
		case <-f.done:
			said := readSmall(r.path(f.note.ID, ".err"))
			r.forget(f.note)
			return errs.New(errs.Internal, "ffmpeg does not record: %s", clip(strings.TrimSpace(said))).WithCode("INTERNAL_SERVER_ERROR")
		case <-ctx.Done():
			f.child.KillTree()
			<-f.done
			r.forget(f.note)
			return errs.New(errs.Internal, "ffmpeg wrote nothing within %v", beginWait).WithCode("INTERNAL_SERVER_ERROR")
		case <-t.C:
		}
	}
}

func (r *Recorder) forget(n note) {
	for _, p := range []string{filepath.Join(r.Dir(), n.File), r.path(n.ID, ".err"), r.path(n.ID, ".json")} {
		_ = os.Remove(p)
	}
}

// Stop ends a recording and returns when its film is whole. A recording that has ended already is returned as it is.
func (r *Recorder) Stop(id string) (toolbox.Recording, error) {
	r.mu.Lock()
	f := r.active[id]
	if f == nil {
		r.mu.Unlock()
		return r.Get(id)
	}
	f.stop = true
	r.mu.Unlock()
	r.end(f)
	return r.Get(id)
}

// end asks ffmpeg to finish and makes it.
func (r *Recorder) end(f *film) {
	_ = f.child.Signal(syscall.SIGINT)
	t := time.NewTimer(stopWait)
	defer t.Stop()
	select {
	case <-f.done:
	case <-t.C:
		f.child.KillTree()
		<-f.done
	}
}

// StopAll ends all recordings, as when the screen is about to go.
func (r *Recorder) StopAll() {
	r.mu.Lock()
	var all []*film
	for _, f := range r.active {
		f.stop = true
		all = append(all, f)
	}
	r.mu.Unlock()
	var wg sync.WaitGroup
	for _, f := range all {
		wg.Add(1)
		go func() {
			defer wg.Done()
			r.end(f)
		}()
	}
	wg.Wait()
}

// Close ends all recordings at once: their films are as long as they are.
func (r *Recorder) Close() {
	r.mu.Lock()
	r.closed = true
	for _, f := range r.active {
		_ = f.child.Signal(syscall.SIGINT)
	}
	all := make([]*film, 0, len(r.active))
	for _, f := range r.active {
		all = append(all, f)
	}
	r.mu.Unlock()
	t := time.NewTimer(time.Second)
	defer t.Stop()
	for _, f := range all {
		select {
		case <-f.done:
		case <-t.C:
			t.Reset(0)
			f.child.KillTree()
		}
	}
	r.keeps.Wait()
}

// Get returns a recording.
func (r *Recorder) Get(id string) (toolbox.Recording, error) {
	n, live, err := r.find(id)
	if err != nil {
		return toolbox.Recording{}, err
	}
	return r.describe(n, live), nil
}

func (r *Recorder) find(id string) (note, bool, error) {
	if !reID().MatchString(id) {
		return note{}, false, unknown(id)
	}
	r.mu.Lock()
	f := r.active[id]
	var n note
	if f != nil {
		n = f.note
	}
	r.mu.Unlock()
	if f != nil {
		return n, true, nil
	}
	n, err := r.read(id)
	if err != nil {
		return note{}, false, unknown(id)
	}
	return n, false, nil
}

func unknown(id string) error {
	return errs.New(errs.NotFound, "no recording %q", clip(id))
}

// List returns all recordings, the newest first.
func (r *Recorder) List() ([]toolbox.Recording, error) {
	d, err := os.Open(r.Dir())
	if errors.Is(err, fs.ErrNotExist) {
		return []toolbox.Recording{}, nil
	}
	if err != nil {
		return nil, errs.Wrap(err, errs.Denied, "the directory %s cannot be read", r.Dir())
	}
	defer func() { _ = d.Close() }()
	names, err := d.Readdirnames(3 * MaxListed) // a film, its note, its errors
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, errs.Wrap(err, errs.Internal, "the directory %s cannot be read", r.Dir())
	}
	out := []toolbox.Recording{}
	for _, name := range names {
		id, ok := strings.CutSuffix(strings.TrimPrefix(name, "."), ".json")
		if !ok || !reID().MatchString(id) {
			continue
		}
		n, live, err := r.find(id)
		if err != nil {
			continue
		}
		out = append(out, r.describe(n, live))
	}
	slices.SortFunc(out, func(a, b toolbox.Recording) int { return strings.Compare(b.StartTime+b.ID, a.StartTime+a.ID) })
	return out, nil
}

// Open opens the film of a recording, which may still be growing.
func (r *Recorder) Open(id string) (*os.File, fs.FileInfo, string, error) {
	n, _, err := r.find(id)
	if err != nil {
		return nil, nil, "", err
	}
	f, err := os.OpenFile(filepath.Join(r.Dir(), n.File), os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, "", errs.Wrap(err, errs.NotFound, "the file of the recording is gone")
	}
	st, err := f.Stat()
	if err != nil || !st.Mode().IsRegular() {
		_ = f.Close()
		return nil, nil, "", errs.New(errs.NotFound, "the file of the recording is gone")
	}
	return f, st, n.File, nil
}

// Delete removes a recording that has ended.
func (r *Recorder) Delete(id string) error {
	n, live, err := r.find(id)
	if err != nil {
		return err
	}
	if live {
		return errs.New(errs.Conflict, "the recording still runs; stop it first").WithCode(CodeActive)
	}
	r.forget(n)
	return nil
}

// describe makes an answer of a note. One that says that the film runs, where nothing does, was left by a daemon that was killed.
func (r *Recorder) describe(n note, live bool) toolbox.Recording {
	path := filepath.Join(r.Dir(), n.File)
	out := toolbox.Recording{ID: n.ID, FileName: n.File, FilePath: path, StartTime: n.Start.UTC().Format(time.RFC3339Nano), Status: n.Status}
	st, err := os.Lstat(path)
	if err == nil {
		size := st.Size()
		out.SizeBytes = &size
	}
	if live {
		out.Status = toolbox.RecordingRunning
		return out
	}
	if n.Status != toolbox.RecordingCompleted {
		out.Status = toolbox.RecordingFailed
	}
	end := n.Start
	switch {
	case n.End != nil:
		end = *n.End
	case err == nil:
		end = st.ModTime()
	}
	text, seconds := end.UTC().Format(time.RFC3339Nano), max(0, end.Sub(n.Start).Seconds())
	out.EndTime, out.DurationSeconds = &text, &seconds
	return out
}

// path of what stands beside a film.
func (r *Recorder) path(id, ext string) string { return filepath.Join(r.Dir(), "."+id+ext) }

// read reads a note. It is the sandbox's user's file, so it says nothing that is not checked.
func (r *Recorder) read(id string) (note, error) {
	var n note
	if err := json.Unmarshal([]byte(readSmall(r.path(id, ".json"))), &n); err != nil {
		return note{}, err
	}
	if n.ID != id || !reFile().MatchString(n.File) || !strings.HasPrefix(n.File, id+"_") || n.Start.Year() < 1970 || n.Start.Year() > 9999 {
		return note{}, errors.New("not a note of this recording")
	}
	return n, nil
}

func (r *Recorder) write(n note) error {
	b, err := json.Marshal(n)
	if err != nil {
		return err
	}
	tmp := r.path(n.ID, ".tmp")
	if err := os.WriteFile(tmp, b, 0o644); err != nil {
		return errs.Wrap(err, errs.Denied, "the directory %s cannot be written to", r.Dir())
	}
	return os.Rename(tmp, r.path(n.ID, ".json"))
}

func readSmall(path string) string {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return ""
	}
	b, _ := io.ReadAll(io.LimitReader(f, maxNote))
	return string(b)
}

func clip(s string) string {
	if len(s) > 300 {
		return strings.ToValidUTF8(s[:300], "") + "…"
	}
	return s
}

// Saved is a running recording as it is handed over.
type Saved struct {
	ID      string    `json:"id"`
	Pid     int       `json:"pid"`
	Mark    uint64    `json:"mark"`
	Started time.Time `json:"started"`
}

// Freeze keeps all as it is until Thaw.
func (r *Recorder) Freeze() { r.mu.Lock() }

// Thaw is the end of Freeze.
func (r *Recorder) Thaw() { r.mu.Unlock() }

// Save returns what runs. It is called frozen.
func (r *Recorder) Save() []Saved {
	var out []Saved
	for id, f := range r.active {
		out = append(out, Saved{id, f.child.Pid, f.child.Mark(), f.child.Started})
	}
	return out
}

// Restore takes over what Save returned.
func (r *Recorder) Restore(saved []Saved) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, v := range saved {
		n, err := r.read(v.ID)
		if err != nil { // its note was removed: the film goes on, and nobody knows it
			n = note{ID: v.ID, File: v.ID + "_session_" + v.Started.UTC().Format("20060102_150405") + ".mp4", Start: v.Started.UTC(), Status: toolbox.RecordingRunning}
		}
		r.hold(n, r.Runner.Adopt(v.Pid, v.Mark, v.Started))
	}
}
