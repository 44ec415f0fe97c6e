package config

import (
	"encoding"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/dugout-dev/dugout/internal/errs"
)

// maxFile bounds the configuration file, in bytes.
const maxFile = 1 << 20

// Setting describes one setting.
type Setting struct {
	Key    string // in the file: server.listen
	Env    string // DUGOUT_LISTEN
	Flag   string // listen; empty: not settable on the command line, where every user of the host could read it
	Doc    string
	Secret bool
	index  []int
	tag    reflect.StructTag
}

var settings = collect(reflect.TypeFor[Config](), "", nil)

// Settings lists every setting, in the order of the structs.
func Settings() []Setting { return slices.Clone(settings) }

func collect(t reflect.Type, prefix string, index []int) []Setting {
	var out []Setting
	for i := range t.NumField() {
		f := t.Field(i)
		at, key := append(slices.Clone(index), i), prefix+f.Tag.Get("key")
		flag := f.Tag.Get("flag")
		if flag == "" {
			out = append(out, collect(f.Type, key+".", at)...)
			continue
		}
		s := Setting{Key: key, Env: "DUGOUT_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_")), Flag: flag, Doc: f.Tag.Get("doc"),
			Secret: f.Type == reflect.TypeFor[Secret](), index: at, tag: f.Tag}
		if f.Tag.Get("noflag") != "" {
			s.Flag = ""
		}
		out = append(out, s)
	}
	return out
}

// Input is where values may come from.
type Input struct {
	Flags     map[string]string           // flag name → value, those given on the command line only
	LookupEnv func(string) (string, bool) // nil: the process's environment
	Environ   func() []string             // nil: the process's environment; for misspelt names only
	File      string                      // empty: DUGOUT_CONFIG, else DefaultFile when it exists
}

// Value is the effective value of a setting and where it came from.
type Value struct {
	Setting Setting
	Text    string // a secret's is hidden
	Source  string // "default", "file PATH:LINE", "environment DUGOUT_X", "flag --x"
}

// Effective is a loaded configuration.
type Effective struct {
	Config   Config
	Values   []Value
	File     string   // that was read; empty: none
	Warnings []string // DUGOUT_* variables that nothing reads
}

// otherEnv are the DUGOUT_* variables that are read elsewhere: by clients and by this package itself.
var otherEnv = []string{"DUGOUT_CONFIG", "DUGOUT_API_URL", "DUGOUT_API_KEY"}

// Load reads the configuration. Errors are of class Invalid (or Unavailable: the file cannot be read) and name the setting,
// where the value came from and what is allowed.
func Load(in Input) (*Effective, error) {
	if in.LookupEnv == nil {
		in.LookupEnv = os.LookupEnv
	}
	if in.Environ == nil {
		in.Environ = os.Environ
	}
	eff := &Effective{Config: Default()}
	texts, sources, err := readFile(&in, eff)
	if err != nil {
		return nil, err
	}
	for _, s := range settings {
		if v, ok := in.LookupEnv(s.Env); ok && v != "" { // empty counts as not set, as compose files write it
			texts[s.Key], sources[s.Key] = []string{v}, "environment "+s.Env
		}
		if v, ok := in.Flags[s.Flag]; ok && s.Flag != "" {
			texts[s.Key], sources[s.Key] = []string{v}, "flag --"+s.Flag
		}
	}
	root := reflect.ValueOf(&eff.Config).Elem()
	for _, s := range settings {
		vals, given := texts[s.Key]
		if !given {
			sources[s.Key] = "default"
			continue
		}
		if err := assign(root.FieldByIndex(s.index), vals, s); err != nil {
			return nil, errs.New(errs.Invalid, "%s (%s): %v", s.Key, sources[s.Key], err)
		}
	}
	eff.Config.Fill()
	for _, s := range settings {
		eff.Values = append(eff.Values, Value{Setting: s, Text: render(root.FieldByIndex(s.index)), Source: sources[s.Key]})
	}
	for _, kv := range in.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		known := slices.ContainsFunc(settings, func(s Setting) bool { return s.Env == name })
		if strings.HasPrefix(name, "DUGOUT_") && !known && !slices.Contains(otherEnv, name) {
			eff.Warnings = append(eff.Warnings, fmt.Sprintf("the variable %s is not a setting and is ignored%s", name, suggest(name, envNames())))
		}
	}
	slices.Sort(eff.Warnings)
	if err := eff.Config.Validate(); err != nil {
		return nil, err
	}
	return eff, nil
}

func envNames() []string {
	var out []string
	for _, s := range settings {
		out = append(out, s.Env)
	}
	return out
}

func readFile(in *Input, eff *Effective) (texts map[string][]string, sources map[string]string, err error) {
	texts, sources = map[string][]string{}, map[string]string{}
	path, optional := in.File, false
	if path == "" {
		path, _ = in.LookupEnv("DUGOUT_CONFIG")
	}
	if path == "" {
		path, optional = DefaultFile, true
	}
	st, err := os.Stat(path)
	if optional && errors.Is(err, fs.ErrNotExist) {
		return texts, sources, nil
	}
	if err == nil && st.Size() > maxFile {
		return nil, nil, errs.New(errs.Invalid, "the configuration file %s is larger than %d bytes", path, maxFile)
	}
	var raw []byte
	if err == nil {
		raw, err = os.ReadFile(path)
	}
	if err != nil {
		return nil, nil, errs.New(errs.Unavailable, "cannot read the configuration file: %v", err)
	}
	eff.File = path
	var doc yaml.Node
	if err := yaml.Unmarshal(raw, &doc); err != nil {
		return nil, nil, errs.New(errs.Invalid, "%s is not valid YAML: %v", path, err)
	}
	if len(doc.Content) == 0 {
		return texts, sources, nil
	}
	return texts, sources, walk(doc.Content[0], "", path, texts, sources)
}

// walk flattens the file's mapping into key → values.
func walk(n *yaml.Node, prefix, path string, texts map[string][]string, sources map[string]string) error {
	if n.Kind != yaml.MappingNode {
		return errs.New(errs.Invalid, "%s line %d: %s must be a mapping of settings", path, n.Line, strings.TrimSuffix(cmpOr(prefix, "the file"), "."))
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		key := prefix + k.Value
		if slices.ContainsFunc(settings, func(s Setting) bool { return strings.HasPrefix(s.Key, key+".") }) {
			if v.Tag == "!!null" {
				continue // a section with everything in it commented out
			}
			if err := walk(v, key+".", path, texts, sources); err != nil {
				return err
			}
			continue
		}
		if !slices.ContainsFunc(settings, func(s Setting) bool { return s.Key == key }) {
			var keys []string
			for _, s := range settings {
				keys = append(keys, s.Key)
			}
			return errs.New(errs.Invalid, "%s line %d: unknown setting %q%s", path, k.Line, key, suggest(key, keys))
		}
		if _, twice := texts[key]; twice {
			return errs.New(errs.Invalid, "%s line %d: %s is set twice", path, k.Line, key)
		}
		switch {
		case v.Tag == "!!null":
			continue
		case v.Kind == yaml.ScalarNode:
			texts[key] = []string{v.Value}
		case v.Kind == yaml.SequenceNode:
			texts[key] = []string{}
			for _, e := range v.Content {
				if e.Kind != yaml.ScalarNode {
					return errs.New(errs.Invalid, "%s line %d: %s must be a list of plain values", path, e.Line, key)
				}
				texts[key] = append(texts[key], e.Value)
			}
		default:
			return errs.New(errs.Invalid, "%s line %d: %s must be a plain value", path, v.Line, key)
		}
		sources[key] = fmt.Sprintf("file %s:%d", path, k.Line)
	}
	return nil
}

func cmpOr(s, def string) string {
	if s == "" {
		return def
	}
	return s
}

// assign sets v from texts. A list comes as several texts (file) or as one with commas (flag, environment).
func assign(v reflect.Value, texts []string, s Setting) error {
	if v.Kind() == reflect.Slice {
		if len(texts) == 1 {
			texts = strings.Split(texts[0], ",")
		}
		out := reflect.MakeSlice(v.Type(), 0, len(texts))
		for _, t := range texts {
			if t = strings.TrimSpace(t); t == "" {
				continue
			}
			e := reflect.New(v.Type().Elem())
			if err := assign(e.Elem(), []string{t}, s); err != nil {
				return err
			}
			out = reflect.Append(out, e.Elem())
		}
		v.Set(out)
		return nil
	}
	if len(texts) != 1 {
		return errs.New(errs.Invalid, "must be one value, got a list of %d", len(texts))
	}
	t := texts[0]
	if u, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		if err := u.UnmarshalText([]byte(t)); err != nil {
			if _, ours := errs.As(err); ours {
				return err
			}
			return errs.New(errs.Invalid, "must be a network such as 10.1.0.0/16, got %q", t)
		}
		return nil
	}
	switch v.Kind() {
	case reflect.String:
		if e := s.tag.Get("enum"); e != "" && !slices.Contains(strings.Split(e, ","), t) {
			return errs.New(errs.Invalid, "must be one of %s, got %q", strings.ReplaceAll(e, ",", ", "), t)
		}
		v.SetString(t)
	case reflect.Int64:
		n, err := strconv.ParseInt(t, 10, 64)
		lo, hasLo := bound(s, "min")
		hi, hasHi := bound(s, "max")
		if err != nil || hasLo && n < lo || hasHi && n > hi {
			allowed := "a whole number"
			if hasLo {
				allowed += fmt.Sprintf(" of at least %d", lo)
			}
			if hasHi {
				allowed += fmt.Sprintf(" and at most %d", hi)
			}
			return errs.New(errs.Invalid, "must be %s, got %q", allowed, t)
		}
		v.SetInt(n)
	default:
		panic("config: unsupported type of " + s.Key)
	}
	return nil
}

func bound(s Setting, tag string) (int64, bool) {
	n, err := strconv.ParseInt(s.tag.Get(tag), 10, 64)
	return n, err == nil
}

// render writes a value as assign reads it; secrets hidden.
func render(v reflect.Value) string {
	if v.Kind() == reflect.Slice {
		var parts []string
		for i := range v.Len() {
			parts = append(parts, render(v.Index(i)))
		}
		return strings.Join(parts, ",")
	}
	if m, ok := v.Interface().(encoding.TextMarshaler); ok {
		b, err := m.MarshalText()
		if err != nil {
			return ""
		}
		return string(b)
	}
	return fmt.Sprint(v.Interface())
}

// suggest returns `; did you mean "x"?` for the nearest known name, or "".
func suggest(got string, known []string) string {
	best, dist := "", 4
	for _, k := range known {
		if d := distance(got, k); d < dist {
			best, dist = k, d
		}
		if strings.HasSuffix(k, "."+got) { // the section was forgotten
			best, dist = k, 0
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %q?", best)
}

// distance is the Levenshtein distance of two short strings.
func distance(a, b string) int {
	if len(a) > 100 || len(b) > 100 {
		return 100
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		prev := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			prev, row[j+1] = row[j+1], min(prev+cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
