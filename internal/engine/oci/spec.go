package oci

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/dugout-dev/dugout/internal/engine"
	"github.com/dugout-dev/dugout/internal/errs"
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

// checkSpec refuses what cannot be made, naming the field.
func checkSpec(spec engine.Spec) error {
	if !isSandboxID(spec.ID) {
		return errs.New(errs.Invalid, "id is %q, it must be a UUID in lower case", clip(spec.ID))
	}
	if spec.Class != engine.ClassContainer {
		return errs.New(errs.Invalid, "class is %q, this engine makes only %q", clip(spec.Class), engine.ClassContainer)
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
	return checkLimits(spec.Limits)
}

func checkHostname(name string) error {
	if len(name) > 63 || strings.Trim(strings.ToLower(name), "abcdefghijklmnopqrstuvwxyz0123456789-.") != "" || strings.HasPrefix(name, "-") {
		return errs.New(errs.Invalid, "hostname is %q, it must be at most 63 letters, digits, - and .", clip(name))
	}
	return nil
}

// checkLimits takes zero for "not said".
func checkLimits(l engine.Limits) error {
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

// mergeLimits returns base with the fields that over sets.
func mergeLimits(base, over engine.Limits) engine.Limits {
	for _, f := range []struct{ to, from *int64 }{
		{&base.MilliCPU, &over.MilliCPU}, {&base.MemoryBytes, &over.MemoryBytes}, {&base.DiskBytes, &over.DiskBytes},
		{&base.Pids, &over.Pids}, {&base.OpenFiles, &over.OpenFiles},
	} {
		if *f.from != 0 {
			*f.to = *f.from
		}
	}
	return base
}

// clip bounds foreign text in an error message.
func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "..."
	}
	return s
}
