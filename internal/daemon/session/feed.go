//go:build linux

package session

import (
	"bytes"
	"path/filepath"
	"strconv"
	"strings"
)

// The shell of a session reads a script that never ends from its standard input, and each command is one statement of it:
//
//	command eval ' TEXT' <IN >OUT 2>ERR 7>&-;command printf '%s\n' "SEQ $?" >&7||exit 254
//
// The text is one quoted word, so that whatever is wrong with it (an open quote, a heredoc without an end, a lone if) ends
// with it and cannot eat the next command. eval runs in the shell itself: directory, variables, functions, options and traps
// stay. `command` keeps a syntax error from ending shells that take eval for a special builtin, and passes by functions of
// that name. The redirections hold for the eval: the children of the command have the three descriptors and no more, and
// its own `exec >file` lasts as long as the command. What the shell writes to descriptor 7 says that a command has ended, and how.

// reportFD is the shell's descriptor for reports. One digit: dash knows no more.
const reportFD = 7

// exitLost is the shell's exit code when it cannot report any more: the command closed the descriptors behind its back.
const exitLost = "254"

// posix reports whether the program at path is a shell that reads the statement above.
func posix(path string) bool {
	switch filepath.Base(path) {
	case "sh", "bash", "dash", "ash", "zsh", "ksh", "ksh93", "mksh", "busybox", "yash":
		return true
	}
	return false
}

// statement returns the line that makes the shell run text. last is the exit code of the
// command before, which the text finds in $?.
func statement(shell string, seq uint64, text, in, out, errs string, last int) []byte {
	word := "command"
	if filepath.Base(shell) == "zsh" { // there command means a program
		word = "builtin"
	}
	var b bytes.Buffer
	b.Grow(len(text) + 256)
	if last != 0 {
		b.WriteString("(exit " + strconv.Itoa(last&255) + ")||")
	}
	b.WriteString(word + " eval " + quote(" "+text)) // the space: a text that begins with a dash is no option
	b.WriteString(" <" + quote(in) + " >" + quote(out) + " 2>" + quote(errs) + " 7>&-;" + word + ` printf '%s\n' "` + strconv.FormatUint(seq, 10) + ` $?" >&7||exit ` + exitLost + "\n")
	return b.Bytes()
}

// quote returns s as one word of the shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, `'`, `'\''`) + "'" }

// maxReport is the longest line that can be a report, in bytes.
const maxReport = 32

// reports reads what comes out of the shell's descriptor 7. Any process of the session could write there if it tried: what
// is no report of the command that runs is left out.
type reports struct {
	Line []byte `json:"line"` // the begin of one
}

// take reads b and looks for the report of seq.
func (r *reports) take(b []byte, seq uint64) (exit int, found bool) {
	for _, c := range b {
		if c != '\n' {
			if len(r.Line) < maxReport {
				r.Line = append(r.Line, c)
			}
			continue
		}
		if !found {
			exit, found = report(r.Line, seq)
		}
		r.Line = r.Line[:0]
	}
	return exit, found
}

func report(line []byte, seq uint64) (int, bool) {
	number, code, ok := strings.Cut(string(line), " ")
	if !ok || len(line) >= maxReport || number != strconv.FormatUint(seq, 10) {
		return 0, false
	}
	n, err := strconv.ParseUint(code, 10, 8)
	return int(n), err == nil
}
