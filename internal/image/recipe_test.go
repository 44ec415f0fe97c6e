package image_test

import (
	"maps"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/dugout-dev/dugout/images"
	"github.com/dugout-dev/dugout/internal/errs"
	"github.com/dugout-dev/dugout/internal/image"
)

const minimal = `
name: small
debian: {suite: bookworm, variant: extract, packages: [busybox-static]}
`

func TestEmbeddedRecipes(t *testing.T) {
	recipes, err := image.LoadRecipes(images.Recipes)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, r := range recipes {
		names = append(names, r.Name)
		if r.User != "daytona" || r.Workdir != "/home/daytona" {
			t.Errorf("%s: user %q and workdir %q are not what existing programs expect", r.Name, r.User, r.Workdir)
		}
		if r.Env["PATH"] == "" || r.Env["HOME"] != "" {
			t.Errorf("%s: env must have PATH and leave HOME to the engine: %v", r.Name, r.Env)
		}
	}
	if diff := cmp.Diff([]string{"base", "desktop", "tiny"}, names); diff != "" {
		t.Error(diff)
	}
	if _, err := image.LoadRecipe(images.Recipes, "nothing"); !errs.Is(err, errs.NotFound) || !strings.Contains(err.Error(), "base, desktop, tiny") {
		t.Errorf("unknown recipe: %v", err)
	}
}

func TestRecipeFileMustBearItsName(t *testing.T) {
	files := fstest.MapFS{"other.yaml": {Data: []byte(minimal)}}
	if _, err := image.LoadRecipes(files); !errs.Is(err, errs.Invalid) {
		t.Errorf("got %v, want Invalid", err)
	}
}

func TestRefDefaultsToName(t *testing.T) {
	r, err := image.ParseRecipe([]byte(minimal))
	if err != nil {
		t.Fatal(err)
	}
	if r.Ref != "small" {
		t.Errorf("ref is %q", r.Ref)
	}
}

func TestHostileRecipes(t *testing.T) {
	debian := "debian: {suite: bookworm, variant: extract, packages: [busybox-static]}\n"
	ok := "name: small\n" + debian
	cases := map[string]string{
		"not yaml":                 "\t{",
		"empty":                    "",
		"unknown field":            ok + "privileged: true\n",
		"two documents":            ok + "---\nname: other\n",
		"too large":                ok + "about: " + strings.Repeat("x", 70<<10),
		"name leaves the store":    "name: ../../etc\n" + debian,
		"name with slash":          "name: a/b\n" + debian,
		"name is a dot":            "name: ..\n" + debian,
		"name too long":            "name: " + strings.Repeat("a", 64) + "\n" + debian,
		"ref with a space":         "ref: a b\n" + ok,
		"ref with a digest":        "ref: a@b\n" + ok,
		"user unknown":             ok + "user: mallory\n",
		"workdir relative":         ok + "workdir: home\n",
		"workdir not clean":        ok + "workdir: /home/../root\n",
		"env name":                 ok + "env: {\"A B\": x}\n",
		"env value with newline":   ok + "env: {A: \"x\\nB=y\"}\n",
		"env value with nul":       ok + "env: {A: \"x\\0\"}\n",
		"suite is an option":       "name: small\ndebian: {suite: --help, variant: extract, packages: [a]}\n",
		"variant unknown":          "name: small\ndebian: {suite: bookworm, variant: apt, packages: [a]}\n",
		"nothing to extract":       "name: small\ndebian: {suite: bookworm, variant: extract}\n",
		"package is an option":     "name: small\ndebian: {suite: bookworm, variant: extract, packages: [--hook]}\n",
		"package has a comma":      "name: small\ndebian: {suite: bookworm, variant: extract, packages: [\"a,b\"]}\n",
		"package is a file":        "name: small\ndebian: {suite: bookworm, variant: extract, packages: [./x.deb]}\n",
		"package pattern":          "name: small\ndebian: {suite: bookworm, variant: extract, packages: [\"?essential\"]}\n",
		"omit is relative":         "name: small\ndebian: {suite: bookworm, variant: minbase, omit: [usr/share]}\n",
		"omit with a newline":      "name: small\ndebian: {suite: bookworm, variant: minbase, omit: [\"/x\\npost-invoke=id\"]}\n",
		"busybox outside":          ok + "busybox: ../../bin/busybox\n",
		"busybox absolute":         ok + "busybox: /bin/busybox\n",
		"account is root":          ok + "accounts: [{name: root, uid: 1000, home: /x, shell: /x}]\n",
		"account uid 0":            ok + "accounts: [{name: a, uid: 0, home: /x, shell: /x}]\n",
		"account uid not mapped":   ok + "accounts: [{name: a, uid: 70000, home: /x, shell: /x}]\n",
		"account twice":            ok + "accounts: [{name: a, uid: 1000, home: /x, shell: /x}, {name: b, uid: 1000, home: /x, shell: /x}]\n",
		"account name with colon":  ok + "accounts: [{name: \"a:0\", uid: 1000, home: /x, shell: /x}]\n",
		"account home with colon":  ok + "accounts: [{name: a, uid: 1000, home: \"/x:/y\", shell: /x}]\n",
		"account home is the root": ok + "accounts: [{name: a, uid: 1000, home: /, shell: /x}]\n",
		"wheel without a version":  ok + "python: {wheels: [numpy]}\n",
		"wheel is a URL":           ok + "python: {wheels: [\"numpy @ https://example.org/x.whl\"]}\n",
		"wheel is an option":       ok + "python: {wheels: [\"--index-url==1\"]}\n",
		"npm without node":         ok + "node: {packages: [typescript@5.0.0]}\n",
		"npm without a version":    ok + "node: {wheel: n==1, packages: [typescript]}\n",
		"npm with a tag":           ok + "node: {wheel: n==1, packages: [typescript@latest]}\n",
		"step without a script":    ok + "steps: [{name: x}]\n",
		"step without a name":      ok + "steps: [{run: id}]\n",
		"step of an unknown user":  ok + "steps: [{name: x, run: id, user: mallory}]\n",
		"setuid outside":           ok + "setuid: [../bin/sh]\n",
		"exclude everything":       ok + "exclude: [.]\n",
		"exclude outside":          ok + "exclude: [../../etc]\n",
		"exclude absolute":         ok + "exclude: [/etc]\n",
		"exclude too many":         ok + "exclude: [" + strings.Repeat("a,", 501) + "]\n",
		"disk negative":            ok + "disk_mb: -1\n",
	}
	for name, text := range cases {
		t.Run(name, func(t *testing.T) {
			if _, err := image.ParseRecipe([]byte(text)); !errs.Is(err, errs.Invalid) {
				t.Errorf("got %v, want Invalid", err)
			}
		})
	}
	if _, err := image.ParseRecipe([]byte(ok)); err != nil {
		t.Errorf("the recipe that the cases start from is not valid itself: %v", err)
	}
}

func TestDigestFollowsTheContent(t *testing.T) {
	parse := func(text string) image.Recipe {
		t.Helper()
		r, err := image.ParseRecipe([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	first := parse(minimal).Digest()
	if len(first) != 64 {
		t.Errorf("digest %q", first)
	}
	same := map[string]string{
		"again":      minimal,
		"comment":    minimal + "# why\n",
		"about":      minimal + "about: for people\n",
		"disk_mb":    minimal + "disk_mb: 7\n",
		"same ref":   minimal + "ref: small\n",
		"flow style": "debian:\n  suite: bookworm\n  variant: extract\n  packages:\n    - busybox-static\nname: small\n",
	}
	for name, text := range same {
		if got := parse(text).Digest(); got != first {
			t.Errorf("%s: the digest changed", name)
		}
	}
	other := map[string]string{
		"env":     minimal + "env: {A: b}\n",
		"user":    minimal + "user: root\n",
		"step":    minimal + "steps: [{name: x, run: id}]\n",
		"exclude": minimal + "exclude: [etc]\n",
		"package": strings.Replace(minimal, "busybox-static", "busybox", 1),
		"suite":   strings.Replace(minimal, "bookworm", "trixie", 1),
	}
	seen := map[string]string{first: "unchanged"}
	for name, text := range other {
		got := parse(text).Digest()
		if twin, clash := seen[got]; clash {
			t.Errorf("%s has the digest of %s", name, twin)
		}
		seen[got] = name
	}
	if len(seen) != len(other)+1 {
		t.Errorf("digests: %v", maps.Keys(seen))
	}
}

func FuzzParseRecipe(f *testing.F) {
	f.Add([]byte(minimal))
	for _, name := range []string{"base.yaml", "tiny.yaml"} {
		data, err := images.Recipes.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := image.ParseRecipe(data)
		if err != nil {
			if !errs.Is(err, errs.Invalid) {
				t.Fatalf("an unreadable recipe is %v, want Invalid", err)
			}
			return
		}
		if strings.ContainsAny(r.Name, "/\\ \x00") || r.Name == ".." || r.Name == "" {
			t.Fatalf("the name %q got through", r.Name)
		}
		for _, p := range r.Debian.Packages {
			if strings.HasPrefix(p, "-") || strings.ContainsAny(p, ", \n/") {
				t.Fatalf("the package %q got through", p)
			}
		}
		if r.Digest() != r.Digest() {
			t.Fatal("the digest is not stable")
		}
	})
}
