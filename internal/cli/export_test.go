package cli

// What the tests of this package's outside look at from within.
var (
	Quote        = quote
	Legible      = legible
	CommandLine  = commandLine
	ExitCode     = exitCode
	Clean        = clean
	Size         = size
	Ago          = ago
	ParseTimeout = parseTimeout
	RemoteCode   = remoteCode
	Base         = base
	Pairs        = pairs
)

// ParsePlace returns the sandbox and the path that s names.
func ParsePlace(s string) (sandbox, path string) {
	p := parsePlace(s)
	return p.sandbox, p.path
}

// Usage makes a mistake of the command line.
func Usage(msg string) error { return usagef("%s", msg) }

// Table renders rows without colours.
func Table(w interface{ Write([]byte) (int, error) }, header []string, rows [][]string) error {
	t := table{header: header, rows: rows}
	return t.write(w, style{})
}

// Render prints v in a format.
func Render(w interface{ Write([]byte) (int, error) }, format string, v any) error {
	o := output{format: format}
	return o.print(w, v, func() error { return nil })
}
