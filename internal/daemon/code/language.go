// Package code knows the languages of a code run: how a source text becomes a program to start, and how the charts that
// it shows come back.
//
// The text of a program reaches it in a way that leaves its standard input empty: a program that reads gets the end of
// input, not its own source.
package code

import (
	"regexp"
	"strconv"
	"strings"
	"sync"
)

// Program is something to start.
type Program struct {
	Names []string // of the interpreter, in order of preference
	Args  []string // without the program's own name
	Stdin []byte   // nil: empty input
	Side  bool     // descriptor 3 carries charts, one JSON value in a line

	Warm bool     // it is plain Python, which a zygote can run too, with
	Argv []string // these arguments of its own
}

// Python runs src like `python3 -u -`: tracebacks name <stdin>, sys.argv[0] is "-", modules are found in the working
// directory. Where src imports matplotlib, it runs under a prelude that turns plt.show() into charts, and tracebacks name
// <target_code> and show its lines.
func Python(src string, argv []string) Program {
	p := Program{Names: []string{"python3", "python"}, Stdin: []byte(src), Warm: true, Argv: argv}
	if ImportsMatplotlib(src) {
		p.Side = true
		p.Args = append([]string{"-u", "-c", bootstrap()}, argv...)
	} else {
		p.Args = append([]string{"-u", "-"}, argv...)
	}
	return p
}

// bootstrap makes the prelude a module of its own, so that it leaves nothing in the program's namespace.
var bootstrap = sync.OnceValue(func() string {
	return "import types\nm = types.ModuleType('dugout_charts')\nexec(compile(" + strconv.QuoteToASCII(prelude) + ", '<dugout>', 'exec'), m.__dict__)\nm.main(globals())\n"
})

var matplotlib = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(?m)^[^#\n]*(?:\bimport|\bfrom|__import__|\bimportlib|\bsys\.modules)\b[^#\n]*\b(?:matplotlib|pylab)\b`)
})

// ImportsMatplotlib reports whether a line of src that is no comment looks like an import of matplotlib. When it only looks
// like one, nothing is lost but a millisecond.
func ImportsMatplotlib(src string) bool {
	if !strings.Contains(src, "matplotlib") && !strings.Contains(src, "pylab") {
		return false
	}
	return matplotlib().MatchString(src)
}

// large are libraries that take a tenth of a second and more to load.
var large = []string{"numpy", "pandas", "matplotlib"}

// UsesLarge returns which of numpy, pandas and matplotlib a line of src that is no comment seems to import.
func UsesLarge(src string) (used []string) {
	for _, name := range large {
		for rest := src; ; {
			i := strings.Index(rest, name)
			if i < 0 {
				break
			}
			line := rest[strings.LastIndexByte(rest[:i], '\n')+1 : i]
			if !strings.Contains(line, "#") && (strings.Contains(line, "import") || strings.Contains(line, "from")) {
				used = append(used, name)
				break
			}
			rest = rest[i+len(name):]
		}
	}
	return used
}

// maxInline is the longest text, in bytes, that travels as an argument: the kernel's limit for one is 128 KiB.
const maxInline = 100 << 10

// JavaScript runs src so that process.argv is the interpreter followed by argv.
func JavaScript(src string, argv []string) Program {
	p := Program{Names: []string{"node"}}
	if len(src) <= maxInline {
		p.Args = append([]string{"--eval=" + src, "--"}, argv...)
		return p
	}
	// Too long for an argument. Node names its input in argv: take that away, on the first line, so that numbers stay.
	p.Stdin = []byte("process.argv.splice(1,1);" + src)
	p.Args = append([]string{"-"}, argv...)
	return p
}

// TypeScriptFile is the name under which a TypeScript program appears in stack traces and in process.argv[1], in the
// working directory. No such file is made.
const TypeScriptFile = "target_code.ts"

// Formats in which the transpiler answers: the first line of its output.
const (
	FormatCommonJS = "commonjs"
	FormatModule   = "module" // the program awaits at its top level, which CommonJS cannot
)

// loadCommonJS runs its standard input as a CommonJS main module with the name that its first argument gives. Packages
// are found from the working directory; errors are mapped to the source by the map at the end of the text.
const loadCommonJS = `const f=process.argv[1],M=require("module"),m=new M(f,null),s=require("fs").readFileSync(0,"utf8");` +
	`m.id=".";m.filename=f;m.paths=M._nodeModulePaths(process.cwd());process.mainModule=m;` +
	`m._compile(s,f);m.loaded=true`

// TypeScript runs the output of the transpiler, so that process.argv is the interpreter, name, and argv.
func TypeScript(output, name string, argv []string) (Program, bool) {
	format, js, ok := strings.Cut(output, "\n")
	if !ok {
		return Program{}, false
	}
	args := append([]string{"--", name}, argv...)
	p := Program{Names: []string{"node"}, Stdin: []byte(js)}
	switch format {
	case FormatCommonJS:
		p.Args = append([]string{"--enable-source-maps", "--eval=" + loadCommonJS}, args...)
	case FormatModule:
		if len(js) <= maxInline {
			p.Stdin = nil
			p.Args = append([]string{"--enable-source-maps", "--input-type=module", "--eval=" + js}, args...)
		} else {
			p.Args = append([]string{"--enable-source-maps", "--input-type=module", "-"}, argv...)
		}
	default:
		return Program{}, false
	}
	return p, true
}
