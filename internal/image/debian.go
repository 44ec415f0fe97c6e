package image

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// mmdebstrapMilestones are words of mmdebstrap's reports and how many percent of its work are done when they appear. They move a progress bar and nothing else.
var mmdebstrapMilestones = []struct {
	words string
	done  int
}{
	{"running apt-get update", 2},
	{"downloading packages", 12},
	{"extracting archives", 20},
	{"installing essential", 30},
	{"installing remaining", 50},
	{"cleaning package lists", 97},
}

// bootstrap installs a Debian system with apt into the empty root filesystem.
func (b *builder) bootstrap(ctx context.Context) error {
	d := b.recipe.Debian
	args := []string{
		"mmdebstrap", "--mode=root", "--format=directory", "--variant=" + d.Variant,
		"--include=" + strings.Join(d.Packages, ","),
		`--aptopt=Acquire::Languages "none"`,
		// A build that is cut off by a power failure is thrown away, so nothing has to reach the disk in order.
		"--dpkgopt=force-unsafe-io",
	}
	for _, opt := range hostAptOptions(ctx) {
		args = append(args, "--aptopt="+opt.String())
	}
	for _, p := range d.Omit {
		args = append(args, "--dpkgopt=path-exclude="+p)
	}
	for _, p := range d.Keep {
		args = append(args, "--dpkgopt=path-include="+p)
	}
	args = append(args, d.Suite, b.rootfs)
	sources := aptSources(os.DirFS("/etc/apt"), d.Suite)
	if len(sources) > 0 {
		// In a file and not as arguments: an entry may hold a password. Without one mmdebstrap has its own default.
		list := filepath.Join(b.work, "sources.list")
		if err := os.WriteFile(list, []byte(strings.Join(sources, "\n")+"\n"), 0o600); err != nil {
			return err
		}
		defer os.Remove(list)
		args = append(args, list)
	}
	done := 0
	err := b.onHost(ctx, func(text string) {
		for _, m := range mmdebstrapMilestones {
			if strings.Contains(text, m.words) {
				done = m.done
			}
		}
		b.tell(text, done)
	}, args...)
	if err != nil {
		return err
	}
	return b.settleApt(ctx, sources)
}

// settleApt leaves the package tools as a sandbox shall find them: same mirrors as the host, none of its passwords.
// sources are what mmdebstrap was given; when that was nothing, its own default stays.
func (b *builder) settleApt(ctx context.Context, sources []string) error {
	if len(sources) > 0 {
		if err := b.emptyDir("etc/apt/sources.list.d", 0o755); err != nil {
			return err
		}
		if err := b.writeFile("etc/apt/sources.list", withoutPasswords(strings.Join(sources, "\n")), 0o644); err != nil {
			return err
		}
	}
	conf := "Acquire::Languages \"none\";\n"
	for _, opt := range hostAptOptions(ctx) {
		if opt.secret() {
			continue
		}
		conf += opt.String() + ";\n"
	}
	err := b.root.RemoveAll("etc/apt/apt.conf.d/99mmdebstrap")
	if err != nil {
		return err
	}
	if err := b.writeFile("etc/apt/apt.conf.d/99dugout", conf, 0o644); err != nil {
		return err
	}
	err = b.root.Rename("etc/dpkg/dpkg.cfg.d/99mmdebstrap", "etc/dpkg/dpkg.cfg.d/99dugout")
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// extractPackages unpacks the named packages and nothing that they depend on. The host's own apt is asked first, which
// takes a second; mmdebstrap needs no package lists on the host, but reads new ones.
func (b *builder) extractPackages(ctx context.Context) error {
	d := b.recipe.Debian
	var first error
	if hostHasSuite(d.Suite) {
		if first = b.downloadAndExtract(ctx, d.Packages); first == nil || ctx.Err() != nil {
			return first
		}
		b.log.DebugContext(ctx, "host apt has no package to extract, trying mmdebstrap", "image", b.recipe.Name, "error", first)
		if err := b.emptyRoot(); err != nil {
			return err
		}
	}
	if err := b.bootstrap(ctx); err != nil {
		return errors.Join(first, err)
	}
	return nil
}

func (b *builder) downloadAndExtract(ctx context.Context, packages []string) error {
	debs := filepath.Join(b.work, "debs")
	cache := filepath.Join(debs, "cache") // our own: the host's is emptied whenever someone installs a package
	if err := os.MkdirAll(filepath.Join(cache, "partial"), 0o700); err != nil {
		return err
	}
	defer os.RemoveAll(debs)
	// The shell is there for the working directory: apt-get downloads into its own.
	get := append([]string{"sh", "-c", `cd "$0" && exec "$@"`, debs,
		"apt-get", "-q", "-o", "APT::Sandbox::User=root", "-o", "Dir::Cache::archives=" + cache, "download"}, packages...)
	if err := b.onHost(ctx, b.line, get...); err != nil {
		return err
	}
	found, err := filepath.Glob(filepath.Join(debs, "*.deb"))
	if err != nil {
		return err
	}
	if len(found) != len(packages) {
		return fmt.Errorf("apt-get download brought %d files for %d packages: %q", len(found), len(packages), found)
	}
	slices.Sort(found)
	for _, deb := range found {
		if err := b.onHost(ctx, b.line, "dpkg-deb", "--extract", deb, b.rootfs); err != nil {
			return err
		}
	}
	return nil
}

// emptyRoot undoes a half-done attempt; the root directory itself stays, the builder has it open.
func (b *builder) emptyRoot() error {
	list, err := os.ReadDir(b.rootfs)
	for _, e := range list {
		err = errors.Join(err, b.root.RemoveAll(e.Name()))
	}
	return err
}

// aptOption is one line of apt's configuration.
type aptOption struct{ key, value string }

func (o aptOption) String() string { return o.key + ` "` + o.value + `"` }

// secret reports whether the value may hold a password, which stays out of images.
func (o aptOption) secret() bool { return strings.Contains(o.value, "@") }

// keptAptOptions are the settings without which the host's mirrors may not work.
var keptAptOptions = []string{"Acquire::Check-Valid-Until", "Acquire::Check-Date", "Acquire::Retries",
	"Acquire::http::Proxy", "Acquire::https::Proxy"}

// hostAptOptions returns the host's own values of keptAptOptions; none when apt cannot be asked.
func hostAptOptions(ctx context.Context) []aptOption {
	cmd := exec.CommandContext(ctx, "apt-config", "dump", "--no-empty", "--format", `%f %v%n`, "Acquire")
	out, err := cmd.Output()
	if err != nil {
		return nil
	}
	var opts []aptOption
	for line := range strings.Lines(string(out)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if slices.Contains(keptAptOptions, key) && !strings.ContainsAny(value, "\"\\;{}") {
			opts = append(opts, aptOption{key, value})
		}
	}
	return opts
}
