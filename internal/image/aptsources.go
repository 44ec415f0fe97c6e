package image

import (
	"io/fs"
	"net/url"
	"os"
	"slices"
	"strings"
)

// aptEntry is one package source of the host.
type aptEntry struct {
	uri, suite string
	components []string
	signedBy   string
	trusted    string
}

// aptSources returns the host's own sources of Debian's suite, its updates and its security fixes, one sources.list line
// each. etc is /etc/apt. Other vendors' repositories are left out, also those that use Debian's suite names.
func aptSources(etc fs.FS, suite string) []string {
	var entries []aptEntry
	for _, pattern := range []string{"sources.list", "sources.list.d/*.list", "sources.list.d/*.sources"} {
		names, err := fs.Glob(etc, pattern)
		if err != nil {
			continue
		}
		for _, name := range names {
			data, err := fs.ReadFile(etc, name)
			if err != nil {
				continue // apt itself would not read it either
			}
			if strings.HasSuffix(name, ".sources") {
				entries = append(entries, parseDeb822(string(data))...)
			} else {
				entries = append(entries, parseOneLine(string(data))...)
			}
		}
	}
	var lines []string
	for _, e := range entries {
		if line, ok := e.line(suite); ok && !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	return lines
}

// hostHasSuite reports whether the host's apt has sources of Debian's suite.
func hostHasSuite(suite string) bool {
	return len(aptSources(os.DirFS("/etc/apt"), suite)) > 0
}

// line formats e, if it is one of Debian's own for suite.
func (e aptEntry) line(suite string) (string, bool) {
	if e.suite != suite && e.suite != suite+"-updates" && e.suite != suite+"-security" {
		return "", false
	}
	u, err := url.Parse(e.uri)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return "", false
	}
	if !slices.Contains(e.components, "main") {
		return "", false
	}
	var options []string
	if e.signedBy != "" {
		if !strings.HasPrefix(e.signedBy, "/usr/share/keyrings/debian-archive-") {
			return "", false
		}
		options = append(options, "signed-by="+e.signedBy)
	}
	if e.trusted == "yes" {
		options = append(options, "trusted=yes")
	}
	words := []string{"deb"}
	if len(options) > 0 {
		words = append(words, "["+strings.Join(options, " ")+"]")
	}
	words = append(words, u.String(), e.suite)
	return strings.Join(append(words, e.components...), " "), true
}

// parseOneLine reads the classic format: deb [option=value …] URI suite component….
func parseOneLine(text string) []aptEntry {
	var entries []aptEntry
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		rest, ok := strings.CutPrefix(strings.TrimSpace(line), "deb ")
		if !ok {
			continue
		}
		var e aptEntry
		if options, after, found := strings.Cut(strings.TrimSpace(rest), "]"); found && strings.HasPrefix(options, "[") {
			rest = after
			for _, o := range strings.Fields(options[1:]) {
				switch key, value, _ := strings.Cut(o, "="); key {
				case "signed-by":
					e.signedBy = value
				case "trusted":
					e.trusted = value
				}
			}
		}
		fields := strings.Fields(rest)
		if len(fields) < 3 {
			continue
		}
		e.uri, e.suite, e.components = fields[0], fields[1], fields[2:]
		entries = append(entries, e)
	}
	return entries
}

// parseDeb822 reads the format of stanzas. A stanza stands for every URI with every suite.
func parseDeb822(text string) []aptEntry {
	var entries []aptEntry
	fields := map[string]string{}
	last := ""
	finish := func() {
		if slices.Contains(strings.Fields(fields["types"]), "deb") && !slices.Contains([]string{"no", "false"}, fields["enabled"]) {
			for _, uri := range strings.Fields(fields["uris"]) {
				for _, suite := range strings.Fields(fields["suites"]) {
					entries = append(entries, aptEntry{uri: uri, suite: suite, components: strings.Fields(fields["components"]),
						signedBy: fields["signed-by"], trusted: fields["trusted"]})
				}
			}
		}
		fields, last = map[string]string{}, ""
	}
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		switch {
		case strings.HasPrefix(line, "#"):
		case strings.TrimSpace(line) == "":
			finish()
		case line[0] == ' ' || line[0] == '\t':
			fields[last] += " " + strings.TrimSpace(line)
		default:
			key, value, _ := strings.Cut(line, ":")
			last = strings.ToLower(strings.TrimSpace(key))
			fields[last] = strings.TrimSpace(value)
		}
	}
	finish()
	return entries
}

// withoutPasswords drops the user and password from every URI of a sources.list.
func withoutPasswords(list string) string {
	var b strings.Builder
	for line := range strings.Lines(list) {
		words := strings.Fields(line)
		for i, w := range words {
			if u, err := url.Parse(w); err == nil && u.User != nil {
				u.User = nil
				words[i] = u.String()
			}
		}
		if len(words) > 0 {
			b.WriteString(strings.Join(words, " ") + "\n")
		}
	}
	return b.String()
}
