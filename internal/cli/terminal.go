package cli

import (
	"os"
	"strings"
	"unicode"

	"golang.org/x/term"
)

// isTerminal reports whether x, one of the three standard streams, is a terminal.
func isTerminal(x any) bool {
	f, ok := fileOf(x)
	return ok && term.IsTerminal(int(f.Fd()))
}

// style colours text for one stream; on anything but a terminal, and where NO_COLOR or TERM=dumb says so, it does nothing.
type style struct{ on bool }

func (e *env) style(w any) style {
	return style{on: isTerminal(w) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
}

func (s style) paint(code, text string) string {
	if !s.on {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (s style) red(t string) string    { return s.paint("31", t) }
func (s style) green(t string) string  { return s.paint("32", t) }
func (s style) yellow(t string) string { return s.paint("33", t) }
func (s style) bold(t string) string   { return s.paint("1", t) }
func (s style) dim(t string) string    { return s.paint("2", t) }

// clean makes text from elsewhere safe to print: names and messages must not move the cursor or change the terminal.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || unicode.IsPrint(r) {
			return r
		}
		return '\uFFFD'
	}, s)
}

// cleanLine is clean for what must stay on one line.
func cleanLine(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '\uFFFD'
	}, s)
}
