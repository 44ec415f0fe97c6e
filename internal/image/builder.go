package image

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/dugout-dev/dugout/internal/errs"
)

// builder makes one root filesystem in work/rootfs.
type builder struct {
	recipe Recipe
	work   string   // the build's own folder
	rootfs string   // work/rootfs
	root   *os.Root // the same; every file the builder itself writes goes through it, so a link in a package leads nowhere else
	log    *slog.Logger
	report func(Progress)

	current    buildStep
	done, full int   // weights of the finished steps and of all
	size       int64 // of the root filesystem, known after tidy
}

// buildStep is one part of a build. Weights are seconds of the usual build on two cores; only their ratio counts.
type buildStep struct {
	name   string
	weight int
	run    func(context.Context) error
}

func newBuilder(recipe Recipe, work string, log *slog.Logger, report func(Progress)) *builder {
	return &builder{recipe: recipe, work: work, rootfs: filepath.Join(work, rootfsDir), log: log, report: report}
}

// steps lists what this recipe needs, in order.
func (b *builder) steps() []buildStep {
	r := b.recipe
	var steps []buildStep
	if r.Debian.Variant == variantExtract {
		steps = append(steps, buildStep{"debian", 2, b.extractPackages})
	} else {
		steps = append(steps, buildStep{"debian", 60, b.bootstrap})
	}
	steps = append(steps, buildStep{"skeleton", 1, b.skeleton})
	if r.Busybox != "" {
		steps = append(steps, buildStep{"busybox", 1, b.linkBusybox})
	}
	steps = append(steps, buildStep{"accounts", 1, b.addAccounts}, buildStep{"certificates", 2, b.addHostCertificates})
	if len(r.Python.Wheels) > 0 {
		steps = append(steps, buildStep{"python", 20, b.installWheels})
	}
	if r.Node.Wheel != "" {
		steps = append(steps, buildStep{"node", 8, b.installNode})
	}
	for _, s := range r.Steps {
		steps = append(steps, buildStep{s.Name, 1, func(ctx context.Context) error {
			return b.inside(ctx, s.User, "/bin/sh", "-e", "-c", s.Run)
		}})
	}
	return append(steps, buildStep{"tidy", 2, b.tidy})
}

// run builds and returns the size of the root filesystem in bytes on disk.
func (b *builder) run(ctx context.Context) (int64, error) {
	if err := os.Mkdir(b.rootfs, 0o755); err != nil {
		return 0, errs.Wrap(err, errs.Internal, "the root filesystem of the image %s cannot be made", b.recipe.Name)
	}
	if err := os.Chmod(b.rootfs, 0o755); err != nil { // whatever our umask is
		return 0, errs.Wrap(err, errs.Internal, "the root filesystem of the image %s cannot be made", b.recipe.Name)
	}
	root, err := os.OpenRoot(b.rootfs)
	if err != nil {
		return 0, errs.Wrap(err, errs.Internal, "the root filesystem of the image %s cannot be opened", b.recipe.Name)
	}
	defer root.Close()
	b.root = root

	steps := b.steps()
	for _, s := range steps {
		b.full += s.weight
	}
	for _, s := range steps {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		b.current = s
		b.tell("", 0)
		if err := s.run(ctx); err != nil {
			if _, classified := errs.As(err); classified || ctx.Err() != nil {
				return 0, err
			}
			class := errs.Internal
			if tool := (*toolError)(nil); errors.As(err, &tool) {
				class = errs.Unavailable
			}
			return 0, errs.Wrap(err, class, "building the image %s failed in the step %q", b.recipe.Name, s.name)
		}
		b.done += s.weight
	}
	b.current = buildStep{name: "done"}
	b.tell("", 0)
	return b.size, nil
}

// tell reports the current step, of which part percent are done.
func (b *builder) tell(detail string, part int) {
	if len(detail) > 120 {
		detail = detail[:120]
	}
	done := 100*b.done + part*b.current.weight
	b.report(Progress{Step: b.current.name, Detail: strings.ToValidUTF8(detail, ""), Percent: done / max(b.full, 1)})
}

func (b *builder) line(text string) { b.tell(text, 0) }

// onHost runs a tool of the host in its own namespaces.
func (b *builder) onHost(ctx context.Context, line func(string), args ...string) error {
	return runTool(ctx, hostScript, b.work, hostEnv(b.work), args, line)
}

// inside runs a program of the image, as user (empty: root) in that user's home, with the host's network and resolver.
func (b *builder) inside(ctx context.Context, user string, args ...string) error {
	spec, home := "0:0", "/root"
	for _, a := range b.recipe.Accounts {
		if a.Name == user {
			spec, home = fmt.Sprintf("%d:%d", a.UID, a.UID), a.Home
		}
	}
	if user == "" {
		user = "root"
	}
	path := b.recipe.Env["PATH"]
	if path == "" {
		path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	}
	call := []string{b.rootfs, spec}
	for _, file := range []string{"/etc/resolv.conf", "/etc/hosts"} {
		if _, err := os.Stat(file); err == nil {
			call = append(call, file, file)
		}
	}
	clients, clientEnv := hostClients()
	for _, c := range clients {
		call = append(call, c.source, c.target)
	}
	call = append(call, "--",
		"PATH="+path, "HOME="+home, "USER="+user, "LOGNAME="+user, "LANG=C.UTF-8", "DEBIAN_FRONTEND=noninteractive")
	call = slices.Concat(call, inherited(networkVariables), clientEnv,
		[]string{"/bin/sh", "-c", `cd "$0" && exec "$@"`, home}, args)
	return runTool(ctx, chrootScript, b.work, hostEnv(b.work), call, b.line)
}
