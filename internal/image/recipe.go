package image

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"regexp"
	"runtime"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/dugout-dev/dugout/internal/errs"
)

// Limits of a recipe. They are far above any real one and exist so that a wrong file fails with a sentence.
const (
	maxRecipeBytes = 64 << 10
	maxListItems   = 500
	maxTextBytes   = 16 << 10
)

// buildFormat is part of every digest. Raise it when the builder itself starts to make something else of the same recipe.
const buildFormat = 1

// Recipe says what an image is made of. It is data of the operator, never of a tenant: its steps run as the host's root
// in a chroot, which is no boundary.
type Recipe struct {
	Name  string `yaml:"name"`  // folder in the store; lower case, digits, '.', '_' and '-'
	Ref   string `yaml:"ref"`   // what sandboxes and snapshots call it; empty: Name
	About string `yaml:"about"` // one line for people; not part of the digest

	User       string            `yaml:"user"`       // default user; empty: root
	Workdir    string            `yaml:"workdir"`    // absolute; empty: the user's home
	Env        map[string]string `yaml:"env"`        // defaults below a sandbox's own
	Entrypoint []string          `yaml:"entrypoint"` // handed to the daemon, not run by the engine

	Debian   Debian    `yaml:"debian"`
	Busybox  string    `yaml:"busybox"` // path in the image of a busybox whose commands become links to it; empty: none
	Accounts []Account `yaml:"accounts"`
	Python   Python    `yaml:"python"`
	Node     Node      `yaml:"node"`
	Steps    []Step    `yaml:"steps"`   // run in order, after everything above
	Setuid   []string  `yaml:"setuid"`  // files that keep their set-user-ID bit; all others lose it
	Exclude  []string  `yaml:"exclude"` // removed at the end; path.Match patterns, relative to the root
	DiskMB   int64     `yaml:"disk_mb"` // free space that a build needs, MiB; not part of the digest
}

// Debian is the operating system part.
type Debian struct {
	Suite    string   `yaml:"suite"`    // code name, e.g. bookworm
	Variant  string   `yaml:"variant"`  // minbase: a system with apt; extract: the packages' files and nothing else
	Packages []string `yaml:"packages"` // Debian package names, nothing recommended comes along
	Omit     []string `yaml:"omit"`     // dpkg path-exclude patterns, in force in the image too
	Keep     []string `yaml:"keep"`     // dpkg path-include patterns: exceptions from Omit
}

// Variants of Debian.
const (
	variantMinbase = "minbase"
	variantExtract = "extract"
)

// Account is a user with a group of the same name and number.
type Account struct {
	Name  string `yaml:"name"`
	UID   int    `yaml:"uid"` // 1000–59999
	Home  string `yaml:"home"`
	Shell string `yaml:"shell"`
	Sudo  bool   `yaml:"sudo"` // may become root without a password
}

// Python lists wheels for the image's own pip, installed for all users.
type Python struct {
	Wheels []string `yaml:"wheels"` // name==version, the whole closure: dependencies are not resolved
}

// Node is Node.js with npm, unpacked to /usr/local from a Python wheel that carries it.
type Node struct {
	Wheel    string   `yaml:"wheel"`    // name==version
	Packages []string `yaml:"packages"` // npm packages installed globally, name@version
}

// Step is a shell script run in the image's root, with the network of the host and the image's own programs.
type Step struct {
	Name string `yaml:"name"`
	User string `yaml:"user"` // one of Accounts; empty: root
	Run  string `yaml:"run"`  // for sh -e
}

// ParseRecipe reads one recipe in YAML. Unknown fields, values out of range and a second document are errs.Invalid.
func ParseRecipe(data []byte) (Recipe, error) {
	if len(data) > maxRecipeBytes {
		return Recipe{}, errs.New(errs.Invalid, "the recipe has %d bytes, at most %d are allowed", len(data), maxRecipeBytes)
	}
	var r Recipe
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	if err := dec.Decode(&r); err != nil {
		return Recipe{}, errs.Wrap(err, errs.Invalid, "the recipe is not valid YAML of the expected form")
	}
	if err := dec.Decode(new(any)); !errors.Is(err, io.EOF) {
		return Recipe{}, errs.New(errs.Invalid, "the recipe %q has more than one YAML document", r.Name)
	}
	if r.Ref == "" {
		r.Ref = r.Name
	}
	return r, r.Validate()
}

// LoadRecipe reads the recipe called name from files, where it is <name>.yaml. errs.NotFound lists what is there.
func LoadRecipe(files fs.FS, name string) (Recipe, error) {
	all, err := LoadRecipes(files)
	if err != nil {
		return Recipe{}, err
	}
	var have []string
	for _, r := range all {
		if r.Name == name {
			return r, nil
		}
		have = append(have, r.Name)
	}
	return Recipe{}, errs.New(errs.NotFound, "there is no recipe %q; there are: %s", name, strings.Join(have, ", "))
}

// LoadRecipes reads every recipe of files, sorted by name.
func LoadRecipes(files fs.FS) ([]Recipe, error) {
	names, err := fs.Glob(files, "*.yaml")
	if err != nil {
		return nil, errs.Wrap(err, errs.Internal, "the recipes cannot be listed")
	}
	slices.Sort(names)
	recipes := make([]Recipe, 0, len(names))
	for _, name := range names {
		data, err := fs.ReadFile(files, name)
		if err != nil {
			return nil, errs.Wrap(err, errs.Internal, "the recipe %s cannot be read", name)
		}
		r, err := ParseRecipe(data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if r.Name+".yaml" != name {
			return nil, errs.New(errs.Invalid, "the recipe in %s calls itself %q; the file must be named after it", name, r.Name)
		}
		recipes = append(recipes, r)
	}
	return recipes, nil
}

// Digest names what a build of r makes: the hash of everything in the recipe that changes the result, of the builder's
// format and of the machine's architecture. Lower-case hexadecimal, 64 characters.
func (r Recipe) Digest() string {
	r.About, r.DiskMB = "", 0
	body, err := json.Marshal(struct {
		Format int
		Arch   string
		Recipe Recipe
	}{buildFormat, runtime.GOARCH, r})
	if err != nil {
		panic("image: a recipe that cannot be encoded: " + err.Error()) // plain strings and numbers always can
	}
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}

var (
	reName     = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)
	reRef      = regexp.MustCompile(`^[a-z0-9][a-z0-9._/:-]{0,126}$`)
	reDebian   = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]{0,99}$`)
	reSuite    = regexp.MustCompile(`^[a-z]{3,20}$`)
	reWheel    = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,99}==[A-Za-z0-9][A-Za-z0-9.!+]{0,49}$`)
	reNPM      = regexp.MustCompile(`^(@[a-z0-9][a-z0-9._-]{0,99}/)?[a-z0-9][a-z0-9._-]{0,99}@[0-9][A-Za-z0-9.+-]{0,49}$`)
	reAccount  = regexp.MustCompile(`^[a-z_][a-z0-9_-]{0,30}$`)
	reEnvName  = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,99}$`)
	reAbsolute = regexp.MustCompile(`^(/[A-Za-z0-9._+-]+)+$`)
	rePattern  = regexp.MustCompile(`^[A-Za-z0-9._+@*?/-]{1,200}$`)
)

// Validate reports the first value that a build could not work with, as errs.Invalid. Names and versions are matched
// strictly because they end up as arguments of mmdebstrap, dpkg, pip and npm.
func (r Recipe) Validate() error {
	v := validator{recipe: r.Name}
	v.match("name", r.Name, reName)
	v.match("ref", r.Ref, reRef)
	v.text("about", r.About)
	if r.User != "" {
		v.match("user", r.User, reAccount)
		if r.User != "root" && !r.hasAccount(r.User) {
			v.fail("user", r.User, "root or one of the accounts")
		}
	}
	if r.Workdir != "" {
		v.absolute("workdir", r.Workdir)
	}
	v.count("env", len(r.Env))
	for name, value := range r.Env {
		v.match("env", name, reEnvName)
		v.text("env "+name, value)
	}
	v.count("entrypoint", len(r.Entrypoint))
	for _, arg := range r.Entrypoint {
		v.text("entrypoint", arg)
	}
	v.debian(r.Debian)
	if r.Busybox != "" {
		v.relative("busybox", r.Busybox)
	}
	v.accounts(r.Accounts)
	v.list("python.wheels", r.Python.Wheels, reWheel)
	if r.Node.Wheel != "" {
		v.match("node.wheel", r.Node.Wheel, reWheel)
	} else if len(r.Node.Packages) > 0 {
		v.fail("node.packages", r.Node.Packages[0], "nothing while node.wheel is empty")
	}
	v.list("node.packages", r.Node.Packages, reNPM)
	v.steps(r)
	v.count("setuid", len(r.Setuid))
	for _, p := range r.Setuid {
		v.relative("setuid", p)
	}
	v.count("exclude", len(r.Exclude))
	for _, p := range r.Exclude {
		v.relative("exclude", p)
	}
	if r.DiskMB < 0 || r.DiskMB > 1<<20 {
		v.fail("disk_mb", fmt.Sprint(r.DiskMB), "0 to 1048576")
	}
	return v.err
}

func (r Recipe) hasAccount(name string) bool {
	return slices.ContainsFunc(r.Accounts, func(a Account) bool { return a.Name == name })
}

// validator keeps the first failure.
type validator struct {
	recipe string
	err    error
}

func (v *validator) fail(field, value, allowed string) {
	if v.err == nil {
		v.err = errs.New(errs.Invalid, "recipe %.80q: %s is %.80q, allowed is %s", v.recipe, field, value, allowed)
	}
}

func (v *validator) match(field, value string, re *regexp.Regexp) {
	if !re.MatchString(value) {
		v.fail(field, value, "what matches "+re.String())
	}
}

func (v *validator) count(field string, n int) {
	if n > maxListItems {
		v.fail(field, fmt.Sprintf("a list of %d", n), fmt.Sprintf("at most %d items", maxListItems))
	}
}

func (v *validator) list(field string, values []string, re *regexp.Regexp) {
	v.count(field, len(values))
	for _, value := range values {
		v.match(field, value, re)
	}
}

func (v *validator) text(field, value string) {
	if len(value) > maxTextBytes || strings.ContainsAny(value, "\x00\r\n") {
		v.fail(field, value, fmt.Sprintf("one line of at most %d bytes", maxTextBytes))
	}
}

func (v *validator) absolute(field, value string) {
	if !reAbsolute.MatchString(value) || path.Clean(value) != value || len(value) > 200 {
		v.fail(field, value, "an absolute, clean path")
	}
}

// relative accepts a path or pattern below the image's root that cannot name the root itself or leave it.
func (v *validator) relative(field, value string) {
	if !rePattern.MatchString(value) || path.IsAbs(value) || path.Clean(value) != value || value == "." || value == ".." || strings.HasPrefix(value, "../") {
		v.fail(field, value, "a clean path relative to the image's root")
	}
}

func (v *validator) debian(d Debian) {
	v.match("debian.suite", d.Suite, reSuite)
	if d.Variant != variantMinbase && d.Variant != variantExtract {
		v.fail("debian.variant", d.Variant, variantMinbase+" or "+variantExtract)
	}
	if d.Variant == variantExtract && len(d.Packages) == 0 {
		v.fail("debian.packages", "empty", "at least one package for the variant extract")
	}
	v.list("debian.packages", d.Packages, reDebian)
	for _, p := range slices.Concat(d.Omit, d.Keep) {
		v.match("debian.omit or keep", p, rePattern)
		if !path.IsAbs(p) {
			v.fail("debian.omit or keep", p, "an absolute dpkg pattern")
		}
	}
	v.count("debian.omit and keep", len(d.Omit)+len(d.Keep))
}

func (v *validator) accounts(accounts []Account) {
	v.count("accounts", len(accounts))
	for i, a := range accounts {
		v.match("accounts.name", a.Name, reAccount)
		if a.Name == "root" || slices.ContainsFunc(accounts[:i], func(b Account) bool { return a.Name == b.Name || a.UID == b.UID }) {
			v.fail("accounts", a.Name, "a name and a uid that no other account has")
		}
		if a.UID < 1000 || a.UID > 59999 {
			v.fail("accounts.uid", fmt.Sprint(a.UID), "1000 to 59999")
		}
		v.absolute("accounts.home", a.Home)
		v.absolute("accounts.shell", a.Shell)
	}
}

func (v *validator) steps(r Recipe) {
	v.count("steps", len(r.Steps))
	for _, s := range r.Steps {
		if s.Name == "" {
			v.fail("steps.name", s.Name, "a name")
		}
		v.text("steps.name", s.Name)
		if s.User != "" && !r.hasAccount(s.User) {
			v.fail("steps.user", s.User, "empty for root, or one of the accounts")
		}
		if s.Run == "" || len(s.Run) > maxTextBytes || strings.Contains(s.Run, "\x00") {
			v.fail("steps.run", s.Run, fmt.Sprintf("a script of 1 to %d bytes", maxTextBytes))
		}
	}
}
