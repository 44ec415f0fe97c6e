package archtest_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/dugout-dev/dugout"

// row says what the packages that match pkg may import of this module, besides the standard library and what is not ours.
// A pattern ending in /... is a tree, with its root. The first row that matches counts.
type row struct {
	pkg    string
	may    []string
	reason string
	// bare forbids everything outside the standard library and the row's own list.
	bare bool
	// only lists what is excepted from that.
	only []string
}

var leaves = []string{"api/...", "internal/errs", "internal/id", "internal/rest", "internal/relay", "internal/obs", "internal/config"}

var table = []row{
	// Leaves.
	{pkg: "api/...", may: []string{"api"}, bare: true, reason: "the wire: clients outside this repository import it"},
	{pkg: "internal/errs", bare: true, reason: "every package depends on it"},
	{pkg: "internal/id", bare: true, reason: "every package depends on it"},
	{pkg: "internal/filelock", may: []string{"internal/errs"}, reason: "a file and the kernel"},
	{pkg: "internal/relay", bare: true, reason: "takes no decision, so needs nothing"},
	{pkg: "internal/rest/openapi", may: []string{"api", "internal/rest"}, reason: "describes routes; apart, so that only tools link the schema library"},
	{pkg: "internal/rest", may: []string{"api", "internal/errs", "internal/id"}, bare: true, reason: "the daemon links it: standard library only"},
	{pkg: "internal/config", may: []string{"internal/errs", "internal/id"}, reason: "read before anything else exists"},
	{pkg: "internal/obs", may: []string{"internal/errs", "internal/rest"}, reason: "what it measures is passed in"},
	{pkg: "internal/payload", may: []string{"internal/errs"}, bare: true, reason: "files and nothing else"},
	{pkg: "images", bare: true, reason: "recipes, embedded"},

	// Domain: meaning, without wire, SQL or processes.
	{pkg: "internal/org", may: []string{"internal/errs", "internal/id"}, bare: true, reason: "who: knows no other domain"},
	{pkg: "internal/snapshot", may: []string{"internal/errs", "internal/id"}, bare: true, reason: "from what: knows no other domain"},
	{pkg: "internal/placement", may: []string{"internal/errs", "internal/id", "internal/snapshot"}, bare: true, reason: "a runner reports which images it has"},
	{pkg: "internal/sandbox", may: []string{"internal/errs", "internal/id", "internal/org", "internal/snapshot", "internal/placement"}, bare: true,
		reason: "a create asks who, from what, and where"},
	{pkg: "internal/sandbox/sandboxtest", may: []string{"internal/errs", "internal/id", "internal/sandbox"}, reason: "a runner for its tests"},
	{pkg: "internal/route", may: []string{"internal/errs", "internal/id"}, bare: true, reason: "asks through an interface: also away from the control plane"},

	// Adapters: domain or contract types on one side, a library or the kernel on the other.
	{pkg: "internal/store/internal/db", bare: true, reason: "generated queries"},
	{pkg: "internal/store/storetest", may: []string{"internal/store"}, reason: "databases for tests"},
	{pkg: "internal/store", may: []string{"internal/errs", "internal/id", "internal/org", "internal/snapshot", "internal/placement", "internal/sandbox", "internal/store/internal/db"},
		reason: "rows of the domain"},
	{pkg: "internal/bus/bustest", may: []string{"internal/bus", "internal/errs"}, reason: "what every bus must do"},
	{pkg: "internal/bus", may: []string{"internal/errs", "internal/sandbox"}, reason: "carries events of the domain"},
	{pkg: "internal/engine/enginetest", may: []string{"internal/engine", "internal/errs", "internal/id"}, reason: "what every engine must do"},
	{pkg: "internal/engine/fake", may: []string{"internal/engine", "internal/errs", "internal/id"}, reason: "an engine"},
	{pkg: "internal/engine/oci/...", may: []string{"internal/engine", "internal/errs", "internal/filelock", "internal/id"}, reason: "an engine"},
	{pkg: "internal/engine", may: []string{"internal/errs", "internal/id"}, bare: true, reason: "the contract between a runner and its engine"},
	{pkg: "internal/image", may: []string{"internal/errs", "internal/id"}, reason: "builds and stores root file systems"},
	{pkg: "internal/netpol", may: []string{"internal/engine", "internal/errs", "internal/filelock", "internal/id"}, reason: "gives an engine its network (engine.Net)"},
	{pkg: "internal/runnerclient", may: []string{"api", "api/runner", "internal/errs"}, bare: true, reason: "the wire of api/runner"},

	// Transports: a protocol each; never one another, never an adapter.
	{pkg: "internal/httpapi", may: append([]string{"internal/org", "internal/snapshot", "internal/sandbox", "internal/placement"}, leaves...), reason: "HTTP to the domain"},
	{pkg: "internal/proxy", may: append([]string{"internal/route"}, leaves...), reason: "HTTP to runners"},
	{pkg: "internal/runner", may: append([]string{"internal/engine"}, leaves...), reason: "HTTP to an engine, by its contract"},
	{pkg: "internal/daemon/daemontest", may: []string{"internal/daemon/..."}, reason: "a daemon for tests"},
	{pkg: "internal/daemon/...", may: append([]string{"internal/daemon/..."}, leaves...), reason: "HTTP to processes and files of one sandbox"},

	// Programs.
	{pkg: "sdk/go", may: []string{"api/..."}, only: []string{"github.com/coder/websocket"}, bare: true, reason: "users import it: the wire and nothing internal; and no libraries but one"},
	{pkg: "internal/cli", may: []string{"api/...", "internal/config", "internal/errs", "internal/id", "sdk/go"}, reason: "a client; what a server needs is passed in by cmd/dugout"},
	{pkg: "internal/app", may: []string{"api/...", "images", "internal/..."}, reason: "the one place that knows all parts"},
	{pkg: "internal/testkit", may: []string{"api/...", "internal/...", "sdk/go"}, reason: "a whole server for tests"},
	{pkg: "internal/tools/...", may: []string{"api/...", "internal/..."}, reason: "generators, run by hand"},
	{pkg: "internal/archtest", bare: true, reason: "this test"},
	{pkg: "cmd/dugout", may: []string{"internal/app", "internal/cli", "internal/config"}, reason: "ties the server to its commands"},
	{pkg: "cmd/dugoutd", may: []string{"internal/daemon", "internal/daemon/info", "internal/daemon/run"}, reason: "the daemon"},
	{pkg: "cmd/dugoutd-ts", may: []string{"internal/daemon/code"}, reason: "apart from the daemon, because its library is large"},
	{pkg: "cmd/dugoutd-git", may: []string{"api/toolbox", "internal/daemon/git/gogit", "internal/daemon/git/op"}, reason: "apart from the daemon, because its library is large"},
	{pkg: "images/build", may: []string{"images", "internal/image"}, reason: "builds snapshots ahead of time"},
	{pkg: "demo/...", may: []string{"sdk/go", "api/..."}, reason: "what a user would write"},
	{pkg: "bench/...", may: []string{"api/...", "sdk/go"}, reason: "measures from outside"},
	{pkg: "test/...", may: []string{"api/...", "internal/cli", "internal/config", "internal/testkit", "sdk/go"}, reason: "tests from outside"},
}

// onlyFor lists packages that few may import, whatever their rows allow.
var onlyFor = map[string][]string{
	"internal/app":     {"cmd/dugout", "internal/testkit"},
	"internal/testkit": {"test/..."},
}

var forbiddenNames = []string{"util", "utils", "common", "shared", "helper", "helpers", "types", "models", "base", "manager"}

type goPackage struct {
	ImportPath, Name, Doc string
	Imports, GoFiles      []string
}

func TestImports(t *testing.T) {
	used := map[string]bool{}
	packages := list(t, module+"/...")
	if len(packages) < 30 {
		t.Fatalf("only %d packages found", len(packages))
	}
	for _, p := range packages {
		name := strings.TrimPrefix(p.ImportPath, module+"/")
		i := slices.IndexFunc(table, func(r row) bool { return matches(r.pkg, name) })
		if i < 0 {
			t.Errorf("%s has no row in the table: say what it may import, and why", name)
			continue
		}
		r := table[i]
		used[r.pkg] = true
		for _, imp := range p.Imports {
			ours, ok := strings.CutPrefix(imp, module+"/")
			switch {
			case !ok && r.bare && strings.Contains(strings.SplitN(imp, "/", 2)[0], ".") && !slices.Contains(r.only, imp):
				t.Errorf("%s imports %s; it may import the standard library alone (%s)", name, imp, r.reason)
			case ok && !matchesAny(r.may, ours):
				t.Errorf("%s imports %s; it may import %v (%s)", name, ours, r.may, r.reason)
			case ok && onlyFor[ours] != nil && !matchesAny(onlyFor[ours], name):
				t.Errorf("%s imports %s; only %v may", name, ours, onlyFor[ours])
			}
		}
	}
	for _, r := range table {
		if !used[r.pkg] {
			t.Errorf("no package matches the row %s: remove it", r.pkg)
		}
		if r.reason == "" {
			t.Errorf("the row %s gives no reason", r.pkg)
		}
	}
}

func TestNamesAndComments(t *testing.T) {
	for _, p := range list(t, module+"/...") {
		if slices.Contains(forbiddenNames, p.Name) || slices.Contains(forbiddenNames, path.Base(p.ImportPath)) {
			t.Errorf("%s: a package is named for what it is about", p.ImportPath)
		}
		if len(p.GoFiles) > 0 && strings.TrimSpace(p.Doc) == "" { // the comment of a package of tests alone is not in the list
			t.Errorf("%s has no package comment", p.ImportPath)
		}
	}
}

// The daemon runs beside hostile code in every sandbox: it is small, and nothing of the server is in it.
func TestDaemonLinksNothingOfTheServer(t *testing.T) {
	never := []string{module + "/internal/store", module + "/internal/bus", module + "/internal/engine", module + "/internal/config", module + "/internal/runner",
		"github.com/jackc/pgx", "github.com/redis", "github.com/moby", "github.com/docker", "github.com/danielgtaylor/huma", "github.com/prometheus",
		"github.com/evanw/esbuild", "github.com/go-git", "modernc.org/sqlite", "github.com/spf13"}
	deps := list(t, "-deps", module+"/cmd/dugoutd")
	if len(deps) < 50 {
		t.Fatalf("only %d dependencies found", len(deps))
	}
	for _, p := range deps {
		for _, n := range never {
			if p.ImportPath == n || strings.HasPrefix(p.ImportPath, n+"/") {
				t.Errorf("cmd/dugoutd links %s", p.ImportPath)
			}
		}
		if p.ImportPath == "html/template" || p.ImportPath == "database/sql" {
			t.Errorf("cmd/dugoutd links %s", p.ImportPath)
		}
	}
}

func matches(pattern, name string) bool {
	if tree, ok := strings.CutSuffix(pattern, "/..."); ok {
		return name == tree || strings.HasPrefix(name, tree+"/")
	}
	return name == pattern
}

func matchesAny(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return matches(p, name) })
}

func list(t *testing.T, args ...string) []goPackage {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"list", "-e", "-json=ImportPath,Name,Doc,Imports,GoFiles"}, args...)...)
	cmd.Dir = "../.."
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	var packages []goPackage
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
}
