package rest

import (
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"sync"

	"github.com/dugout-dev/dugout/internal/errs"
)

// Validator is a request body that can say what is wrong with itself, in an error that names the field and what is allowed.
type Validator interface{ Validate() error }

// binder fills an input struct from a request. It looks at the type once, on first use.
type binder struct {
	typ    reflect.Type
	once   sync.Once
	fields []field
	body   []int // index of the Body field, nil: none
}

type field struct {
	index    []int  // embedded structs count as written out
	in, name string // in: path, query, header
	def      string
	required bool
	min, max *int64
	enum     []string
}

// Params lists the non-body inputs of a struct type, for the API description.
func (b *binder) prepare() {
	b.once.Do(func() {
		if b.typ.Kind() != reflect.Struct {
			panic("rest: input is not a struct: " + b.typ.String())
		}
		for _, f := range reflect.VisibleFields(b.typ) {
			if f.Name == "Body" {
				b.body = f.Index
				continue
			}
			for _, in := range []string{"path", "query", "header"} {
				name, ok := f.Tag.Lookup(in)
				if !ok {
					continue
				}
				fd := field{index: f.Index, in: in, name: name, def: f.Tag.Get("default"), required: in == "path" || f.Tag.Get("required") == "true"}
				fd.min, fd.max = intTag(f, "minimum"), intTag(f, "maximum")
				if e := f.Tag.Get("enum"); e != "" {
					fd.enum = strings.Split(e, ",")
				}
				b.fields = append(b.fields, fd)
			}
		}
	})
}

func intTag(f reflect.StructField, tag string) *int64 {
	s, ok := f.Tag.Lookup(tag)
	if !ok {
		return nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		panic("rest: bad " + tag + " on " + f.Name)
	}
	return &n
}

func (b *binder) bind(r *http.Request, in any) error {
	b.prepare()
	v := reflect.ValueOf(in).Elem()
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil { // a filter that is left out would select everything
		return errs.Wrap(err, errs.Invalid, "malformed query: it must be name=value pairs, percent-encoded, joined by &")
	}
	for _, f := range b.fields {
		var vals []string
		switch f.in {
		case "path":
			vals = []string{r.PathValue(f.name)}
		case "query": // both spellings of a list: a=1&a=2 and a[]=1
			vals = append(append(vals, query[f.name]...), query[f.name+"[]"]...)
		case "header":
			vals = r.Header.Values(f.name)
		}
		if len(vals) == 1 && vals[0] == "" && !f.required && (f.def != "" || len(f.enum) > 0 || !isString(b.typ.FieldByIndex(f.index).Type)) {
			vals = nil // "limit=" says as little as no limit at all
		}
		if len(vals) == 0 && f.def != "" {
			vals = []string{f.def}
		}
		if len(vals) == 0 {
			if f.required {
				return errs.New(errs.Invalid, "%s is required", f.name)
			}
			continue
		}
		if f.required && vals[0] == "" {
			return errs.New(errs.Invalid, "%s must not be empty", f.name)
		}
		if err := f.set(v.FieldByIndex(f.index), vals); err != nil {
			return err
		}
	}
	if b.body == nil {
		return nil
	}
	return decodeBody(r, v.FieldByIndex(b.body).Addr().Interface())
}

func isString(t reflect.Type) bool {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t.Kind() == reflect.String
}

func (f field) set(v reflect.Value, vals []string) error {
	switch {
	case v.Kind() == reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		return f.set(v.Elem(), vals)
	case v.Kind() == reflect.Slice:
		out := reflect.MakeSlice(v.Type(), len(vals), len(vals))
		for i, s := range vals {
			if err := f.set(out.Index(i), []string{s}); err != nil {
				return err
			}
		}
		v.Set(out)
		return nil
	}
	s := vals[0]
	if u, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		if err := u.UnmarshalText([]byte(s)); err != nil {
			return errs.Wrap(err, errs.Invalid, "%s: %v", f.name, err)
		}
		return nil
	}
	switch v.Kind() {
	case reflect.String:
		if len(f.enum) > 0 && !contains(f.enum, s) {
			return errs.New(errs.Invalid, "%s must be one of %s, got %q", f.name, strings.Join(f.enum, ", "), clip(s))
		}
		v.SetString(s)
	case reflect.Bool: // the 0.x wire: true only for exactly "true"
		v.SetBool(s == "true")
	case reflect.Int, reflect.Int64, reflect.Int32:
		n, err := parseInt(s)
		if err != nil || f.min != nil && n < *f.min || f.max != nil && n > *f.max || v.OverflowInt(n) {
			return errs.New(errs.Invalid, "%s must be an integer%s, got %q", f.name, f.span(), clip(s))
		}
		v.SetInt(n)
	case reflect.Float64:
		n, err := strconv.ParseFloat(s, 64)
		if err != nil || n != n {
			return errs.New(errs.Invalid, "%s must be a number, got %q", f.name, clip(s))
		}
		v.SetFloat(n)
	default:
		panic("rest: unsupported input type " + v.Type().String())
	}
	return nil
}

// parseInt reads an integer. Clients that know one type of number only write 15 as 15.0.
func parseInt(s string) (int64, error) {
	if whole, frac, ok := strings.Cut(s, "."); ok && frac != "" && strings.Trim(frac, "0") == "" {
		s = whole
	}
	if strings.HasPrefix(s, "+") {
		return 0, strconv.ErrSyntax
	}
	return strconv.ParseInt(s, 10, 64)
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}

func (f field) span() string {
	switch {
	case f.min != nil && f.max != nil:
		return fmt.Sprintf(" from %d to %d", *f.min, *f.max)
	case f.min != nil:
		return fmt.Sprintf(" of at least %d", *f.min)
	case f.max != nil:
		return fmt.Sprintf(" of at most %d", *f.max)
	}
	return ""
}

// clip keeps a value from outside short enough to be repeated in an error.
func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "…"
	}
	return s
}

// decodeBody reads one JSON value, whatever the Content-Type says. An empty body leaves v as it is. Unknown keys are
// ignored, as the 0.x wire demands; anything after the value is an error.
func decodeBody(r *http.Request, v any) error {
	dec := json.NewDecoder(r.Body)
	err := dec.Decode(v)
	if err == nil {
		if _, e := dec.Token(); e != io.EOF {
			if tooLarge(e) != nil {
				return tooLarge(e)
			}
			return errs.New(errs.Invalid, "malformed JSON: something follows the value").WithCode("INVALID_REQUEST_BODY")
		}
	}
	if err != nil && err != io.EOF {
		return jsonError(err)
	}
	if val, ok := v.(Validator); ok {
		return val.Validate()
	}
	return nil
}

func tooLarge(err error) error {
	var big *http.MaxBytesError
	if errors.As(err, &big) {
		return errs.New(errs.TooLarge, "the request body is larger than the limit of %d bytes", big.Limit)
	}
	return nil
}

func jsonError(err error) error {
	if e := tooLarge(err); e != nil {
		return e
	}
	var typ *json.UnmarshalTypeError
	if errors.As(err, &typ) && typ.Field != "" {
		return errs.New(errs.Invalid, "%s must be %s, got %s", typ.Field, kindName(typ.Type), typ.Value).WithCode("INVALID_REQUEST_BODY")
	}
	if typ != nil {
		return errs.New(errs.Invalid, "the body must be %s, got %s", kindName(typ.Type), typ.Value).WithCode("INVALID_REQUEST_BODY")
	}
	var syn *json.SyntaxError
	if errors.As(err, &syn) {
		return errs.New(errs.Invalid, "malformed JSON at byte %d: %v", syn.Offset, syn).WithCode("INVALID_REQUEST_BODY")
	}
	if e, ok := errs.As(err); ok {
		return e
	}
	return errs.Wrap(err, errs.Invalid, "malformed JSON body").WithCode("INVALID_REQUEST_BODY")
}

func kindName(t reflect.Type) string {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t.Kind() {
	case reflect.Struct, reflect.Map:
		return "an object"
	case reflect.Slice, reflect.Array:
		return "an array"
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "a boolean"
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return "a whole number of at least 0"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return "a whole number"
	default:
		return "a number"
	}
}
