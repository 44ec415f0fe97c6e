package app

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/dugout-dev/dugout/images"
	"github.com/dugout-dev/dugout/internal/config"
	"github.com/dugout-dev/dugout/internal/engine/oci"
	"github.com/dugout-dev/dugout/internal/image"
	"github.com/dugout-dev/dugout/internal/netpol"
	"github.com/dugout-dev/dugout/internal/payload"
)

// Finding is what one check of this host found.
type Finding struct {
	Name   string
	OK     bool
	Detail string
	Fix    string
}

// Doctor examines this host for what `dugout up` needs. It changes nothing and works beside a running server.
func Doctor(ctx context.Context, cfg config.Config) []Finding {
	var out []Finding
	daemon := "/usr/local/bin/dugoutd" // only looked at: the check runs no sandbox
	if dir, err := os.MkdirTemp("", "dugout-doctor-*"); err == nil {
		defer os.RemoveAll(dir)
		path, err := payload.Extract(dir, payload.Daemon)
		if err != nil {
			out = append(out, Finding{Name: "daemon", Detail: err.Error(), Fix: "build with make"})
		} else {
			daemon = path
		}
	}
	for _, f := range oci.Check(ctx, oci.Config{Daemon: daemon, Dir: filepath.Join(cfg.DataDir, "runner"), RunDir: filepath.Join(cfg.Runner.RunDir, "doctor"),
		Instance: "doct", Runc: findRunc(cfg), Disk: oci.Disk{PoolBytes: int64(cfg.Runner.DiskPoolSize)}}) {
		out = append(out, Finding(f))
	}
	return append(out, checkFirewall(), checkRunDir(cfg), checkPort(ctx, cfg), checkSpace(cfg), checkRecipes(cfg))
}

func checkFirewall() Finding {
	f := Finding{Name: "firewall", OK: true, Detail: "no other firewall drops what sandboxes send"}
	if problems := netpol.Firewalls(); len(problems) > 0 {
		f.OK = false
		f.Detail, f.Fix, _ = strings.Cut(strings.Join(problems, "; "), ": run ")
		f.Fix = strings.ReplaceAll(f.Fix, ": run ", ": ")
	}
	return f
}

func checkRunDir(cfg config.Config) Finding {
	f := Finding{Name: "run directory", OK: true, Detail: cfg.Runner.RunDir + " can be passed by the users of sandboxes"}
	if err := passable(filepath.Join(cfg.Runner.RunDir, "x")); err != nil {
		f.OK, f.Detail, f.Fix = false, err.Error(), "chmod o+x that directory, or choose another place with --run-dir"
	}
	return f
}

func checkPort(ctx context.Context, cfg config.Config) Finding {
	f := Finding{Name: "port", OK: true, Detail: cfg.Server.Listen + " is free"}
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", cfg.Server.Listen)
	if err == nil {
		_ = ln.Close()
		return f
	}
	unlock, lockErr := lockDir(ctx, cfg.DataDir, 0)
	if lockErr != nil {
		f.Detail = cfg.Server.Listen + " is in use, and so is the data directory: dugout is running"
		return f
	}
	unlock()
	return Finding{Name: "port", Detail: fmt.Sprintf("cannot listen on %s: %v", cfg.Server.Listen, err), Fix: "stop what uses it, or choose another with --listen"}
}

// wantedSpace is what the base snapshot, its build and a first few sandboxes take, in bytes.
const wantedSpace = 4 << 30

func checkSpace(cfg config.Config) Finding {
	dir := cfg.DataDir
	var fs unix.Statfs_t
	for unix.Statfs(dir, &fs) != nil && dir != filepath.Dir(dir) { // not made yet: look at what holds it
		dir = filepath.Dir(dir)
	}
	free := int64(fs.Bavail) * fs.Bsize
	f := Finding{Name: "space", OK: free >= wantedSpace, Detail: fmt.Sprintf("%.1f GiB free for %s", float64(free)/(1<<30), cfg.DataDir)}
	if !f.OK {
		f.Fix = fmt.Sprintf("free at least %d GiB, or choose another place with --data", wantedSpace>>30)
	}
	return f
}

func checkRecipes(cfg config.Config) Finding {
	f := Finding{Name: "snapshot", OK: true}
	recipe, err := image.LoadRecipe(images.Recipes, cfg.Server.DefaultSnapshot)
	if err != nil {
		f.Detail = "the default snapshot " + cfg.Server.DefaultSnapshot + " is not one that is built here"
		return f
	}
	missing := image.Missing(recipe)
	if len(missing) == 0 {
		f.Detail = "this host can build " + cfg.Server.DefaultSnapshot
		return f
	}
	f.OK, f.Detail, f.Fix = false, fmt.Sprintf("to build the default snapshot this host lacks %v", missing), "apt-get install the packages named"
	return f
}
