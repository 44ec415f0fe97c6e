package engine

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/dugout-dev/dugout/internal/errs"
	"github.com/dugout-dev/dugout/internal/id"
)

// Bounds of what a spec may ask for. The text limits keep a start below the kernel's limit for arguments and environment.
const (
	minMemory    = 16 << 20 // less does not start the runtime
	minDisk      = 1 << 20
	minMilliCPU  = 10
	minPids      = 16
	minOpenFiles = 64
	maxLimit     = 1 << 50
	maxEnvVars   = 4096
	maxEnvBytes  = 512 << 10
	maxEnvVar    = 120 << 10
)

// Check refuses what no engine makes: Invalid, naming the field, or NotFound when the image directory is not there. Engines
// call it in Create, before anything else.
func (spec Spec) Check() error {
	if !id.IsUUID(spec.ID) {
		return errs.New(errs.Invalid, "id is %q, it must be a UUID in lower case", clip(spec.ID))
	}
	if spec.Class != ClassContainer {
		return errs.New(errs.Invalid, "class is %q, this engine makes only %q", clip(spec.Class), ClassContainer)
	}
	if err := checkHostname(spec.Hostname); err != nil {
		return err
	}
	rootfs := spec.Image.Rootfs
	if !filepath.IsAbs(rootfs) || filepath.Clean(rootfs) != rootfs || rootfs == "/" || strings.ContainsAny(rootfs, ":,\\\x00\n") {
		return errs.New(errs.Invalid, "image.rootfs is %q, it must be a clean absolute path below / without : , or \\", clip(rootfs))
	}
	if fi, err := os.Lstat(rootfs); err != nil || !fi.IsDir() {
		return errs.New(errs.NotFound, "the image directory %s of %q is not there", rootfs, clip(spec.Image.Ref))
	}
	if w := spec.Image.Workdir; w != "" && !filepath.IsAbs(w) || strings.ContainsRune(w, 0) || len(w) > 4096 {
		return errs.New(errs.Invalid, "image.workdir is %q, it must be an absolute path", clip(w))
	}
	total, count := 0, 0
	for _, env := range []struct {
		field string
		vars  map[string]string
	}{{"env", spec.Env}, {"image.env", spec.Image.Env}} {
		for name, value := range env.vars {
			if name == "" || strings.ContainsAny(name, "=\x00") || strings.ContainsRune(value, 0) {
				return errs.New(errs.Invalid, "%s has the name %q, names must not be empty or hold = or NUL, and values no NUL", env.field, clip(name))
			}
			if len(name)+len(value) > maxEnvVar {
				return errs.New(errs.Invalid, "%s: the variable %q has %d bytes, the most is %d", env.field, clip(name), len(value), maxEnvVar)
			}
			count, total = count+1, total+len(name)+len(value)+2
		}
	}
	if count > maxEnvVars || total > maxEnvBytes {
		return errs.New(errs.Invalid, "env has %d variables with %d bytes, the most is %d variables with %d bytes", count, total, maxEnvVars, maxEnvBytes)
	}
	return spec.Limits.Check()
}

func checkHostname(name string) error {
	if len(name) > 63 || strings.Trim(strings.ToLower(name), "abcdefghijklmnopqrstuvwxyz0123456789-.") != "" || strings.HasPrefix(name, "-") {
		return errs.New(errs.Invalid, "hostname is %q, it must be at most 63 letters, digits, - and .", clip(name))
	}
	return nil
}

// Check refuses limits out of range: Invalid, naming the field. Zero is "not said".
func (l Limits) Check() error {
	for _, f := range []struct {
		name       string
		value, min int64
	}{
		{"milli_cpu", l.MilliCPU, minMilliCPU}, {"memory_bytes", l.MemoryBytes, minMemory}, {"disk_bytes", l.DiskBytes, minDisk},
		{"pids", l.Pids, minPids}, {"open_files", l.OpenFiles, minOpenFiles},
	} {
		if f.value != 0 && (f.value < f.min || f.value > maxLimit) {
			return errs.New(errs.Invalid, "limits.%s is %d, it must be 0 or between %d and %d", f.name, f.value, f.min, int64(maxLimit))
		}
	}
	return nil
}

// Or returns l with the fields of defaults where l is zero.
func (l Limits) Or(defaults Limits) Limits {
	for _, f := range []struct{ value, base *int64 }{
		{&l.MilliCPU, &defaults.MilliCPU}, {&l.MemoryBytes, &defaults.MemoryBytes}, {&l.DiskBytes, &defaults.DiskBytes},
		{&l.Pids, &defaults.Pids}, {&l.OpenFiles, &defaults.OpenFiles},
	} {
		if *f.value == 0 {
			*f.value = *f.base
		}
	}
	return l
}

// Clone returns a copy that shares no map and no slice with spec.
func (spec Spec) Clone() Spec {
	spec.Env = maps.Clone(spec.Env)
	spec.Labels = maps.Clone(spec.Labels)
	spec.Image.Env = maps.Clone(spec.Image.Env)
	spec.Image.Entrypoint = slices.Clone(spec.Image.Entrypoint)
	return spec
}

// clip bounds foreign text in an error message.
func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "..."
	}
	return s
}
