//go:build linux

package record_test

import (
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/daemon/desktop/record"
	"github.com/dugout-dev/dugout/internal/daemon/reap"
	"github.com/dugout-dev/dugout/internal/daemon/run"
	"github.com/dugout-dev/dugout/internal/errs"
)

// filming stands for ffmpeg where what matters is how its process behaves: it writes to the file that is its last argument, and ends the
// film when it is interrupted. Films of a real ffmpeg are made in test/e2e.
const filming = `#!/bin/bash
for file; do :; done
trap 'echo end >> "$file"; exit 255' INT
echo begin > "$file"
while :; do sleep .02; done
`

func recorder(t *testing.T, program string) (*record.Recorder, string) {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "ffmpeg")
	if program != "" {
		if err := os.WriteFile(path, []byte(program), 0o700); err != nil {
			t.Fatal(err)
		}
	} else {
		path = ""
	}
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	reaper := reap.New(false)
	runner := run.New(reaper, log)
	films := filepath.Join(dir, "films")
	r := &record.Recorder{Runner: runner, Log: log, FFmpeg: func() string { return path }, Env: os.Environ, Dir: func() string { return films }, Work: func() string { return dir }}
	t.Cleanup(func() { r.Close(); runner.Close(); reaper.Close() })
	return r, films
}

func TestRecording(t *testing.T) {
	r, dir := recorder(t, filming)
	if list, err := r.List(); err != nil || len(list) != 0 {
		t.Fatal(list, err)
	}
	rec, err := r.Start(t.Context(), ":9", 640, 480, "my film")
	if err != nil {
		t.Fatal(err)
	}
	if rec.Status != "recording" || !strings.HasPrefix(rec.FileName, rec.ID+"_my film_") || rec.FilePath != filepath.Join(dir, rec.FileName) || rec.EndTime != nil || rec.DurationSeconds != nil {
		t.Errorf("%+v", rec)
	}
	if err := r.Delete(rec.ID); !errs.Is(err, errs.Conflict) {
		t.Errorf("deleting one that runs: %v", err)
	}
	done, err := r.Stop(rec.ID)
	if err != nil || done.Status != "completed" || done.EndTime == nil || done.DurationSeconds == nil || *done.DurationSeconds <= 0 || done.SizeBytes == nil || *done.SizeBytes != 10 {
		t.Fatalf("%+v, %v", done, err)
	}
	again, err := r.Stop(rec.ID)
	if err != nil || again.Status != "completed" || *again.EndTime != *done.EndTime {
		t.Errorf("stopping twice: %+v, %v", again, err)
	}
	f, st, name, err := r.Open(rec.ID)
	if err != nil || st.Size() != 10 || name != rec.FileName {
		t.Fatal(err)
	}
	_ = f.Close()
	if list, err := r.List(); err != nil || len(list) != 1 || list[0].ID != rec.ID {
		t.Error(list, err)
	}
	if err := r.Delete(rec.ID); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	for _, id := range []string{rec.ID, "", "../x", "page", strings.Repeat("a", 5000)} {
		if _, err := r.Get(id); !errs.Is(err, errs.NotFound) {
			t.Errorf("%.40q: %v", id, err)
		}
		if err := r.Delete(id); !errs.Is(err, errs.NotFound) {
			t.Errorf("%.40q: %v", id, err)
		}
	}
}

func TestLimitsAndFailures(t *testing.T) {
	r, _ := recorder(t, "")
	if _, err := r.Start(t.Context(), ":9", 1, 1, "x"); !errs.Is(err, errs.Unavailable) {
		t.Errorf("without ffmpeg: %v", err)
	}
	r, dir := recorder(t, "#!/bin/sh\necho cannot open display >&2\nexit 1\n")
	if _, err := r.Start(t.Context(), ":9", 1, 1, "x"); err == nil || !strings.Contains(err.Error(), "cannot open display") {
		t.Errorf("an ffmpeg that fails: %v", err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	r, _ = recorder(t, filming)
	for range record.MaxActive {
		if _, err := r.Start(t.Context(), ":9", 1, 1, "x"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.Start(t.Context(), ":9", 1, 1, "x"); !errs.Is(err, errs.Conflict) {
		t.Errorf("one more than the most: %v", err)
	}
	r.StopAll()
	list, err := r.List()
	for _, rec := range list {
		if rec.Status != toolbox.RecordingCompleted {
			t.Errorf("%+v", rec)
		}
	}
	if err != nil || len(list) != record.MaxActive {
		t.Error(len(list), err)
	}
}

// A film whose recorder is killed, or whose daemon is, is failed, and what there is of it can be had.
func TestWhatACrashLeaves(t *testing.T) {
	r, dir := recorder(t, filming)
	rec, err := r.Start(t.Context(), ":9", 1, 1, "killed")
	if err != nil {
		t.Fatal(err)
	}
	r.Freeze()
	saved := r.Save()
	r.Thaw()
	other := &record.Recorder{Runner: r.Runner, Log: r.Log, FFmpeg: r.FFmpeg, Env: r.Env, Dir: r.Dir, Work: r.Work}
	if got, err := other.Get(rec.ID); err != nil || got.Status != toolbox.RecordingFailed || got.EndTime == nil {
		t.Errorf("one that nobody keeps: %+v, %v", got, err)
	}
	taken := &record.Recorder{Runner: r.Runner, Log: r.Log, FFmpeg: r.FFmpeg, Env: r.Env, Dir: r.Dir, Work: r.Work}
	taken.Restore(saved)
	if got, err := taken.Get(rec.ID); err != nil || got.Status != toolbox.RecordingRunning {
		t.Errorf("one that was handed over: %+v, %v", got, err)
	}
	if err := syscall.Kill(saved[0].Pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if got, err := taken.Get(rec.ID); err == nil && got.Status == toolbox.RecordingFailed && got.SizeBytes != nil && *got.SizeBytes > 0 {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("%+v, %v", got, err)
		}
	}
	taken.Close()
	// Files that say what is not so.
	note := filepath.Join(dir, "."+rec.ID+".json")
	for _, text := range []string{"", "{", `{"id":"` + rec.ID + `","file":"../../etc/passwd"}`, `{"id":"x"}`, strings.Repeat("x", 1<<20),
		`{"id":"` + rec.ID + `","file":"` + rec.ID + `_x_20260101_000000.mp4","start":"0001-01-01T00:00:00Z"}`} {
		if err := os.WriteFile(note, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := other.Get(rec.ID); !errs.Is(err, errs.NotFound) {
			t.Errorf("%.60q: %+v, %v", text, got, err)
		}
	}
	if err := os.Remove(note); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/passwd", note); err != nil {
		t.Fatal(err)
	}
	if _, err := other.Get(rec.ID); !errs.Is(err, errs.NotFound) {
		t.Error("a link was followed")
	}
}

func TestCheckLabel(t *testing.T) {
	for label, want := range map[string]string{"": "session", "a": "a", "My film-1.2_x": "My film-1.2_x", strings.Repeat("x", 100): strings.Repeat("x", 100)} {
		if got, err := record.CheckLabel(label); err != nil || got != want {
			t.Errorf("%q: %q, %v", label, got, err)
		}
	}
	for _, bad := range []string{".x", "..", "a/b", "ü", "a\nb", "a\x00", strings.Repeat("x", 101), `a"b`, "$(x)"} {
		if _, err := record.CheckLabel(bad); !errs.Is(err, errs.Invalid) {
			t.Errorf("%.20q: %v", bad, err)
		}
	}
}

// A label that is accepted is one element of a path and no option.
func FuzzLabel(f *testing.F) {
	for _, s := range []string{"demo", ".hidden", "../up", "a b-c_d.e", "-rf", "x\n", "\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		label, err := record.CheckLabel(s)
		if err != nil {
			return
		}
		if name := "id_" + label + "_t.mp4"; len(label) > 100 || label[0] == '.' || filepath.Base(name) != name || strings.ContainsAny(label, "/\\\x00\n\"'$`") {
			t.Fatalf("%q became %q", s, label)
		}
	})
}
