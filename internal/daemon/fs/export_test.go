//go:build linux

package fs

import (
	"context"
	"io"
	"os"

	"github.com/dugout-dev/dugout/api/toolbox"
)

// FormPart is a part as the form reader sees it, for tests that compare it with the standard library's.
type FormPart struct {
	Name    string
	IsFile  bool
	Content string
}

// ReadForm reads a whole form; with small reads when small is set.
func ReadForm(contentType string, body io.Reader, small bool) (parts []FormPart, err error) {
	f, err := newForm(contentType, body)
	if err != nil {
		return nil, err
	}
	for {
		p, err := f.next()
		if err == io.EOF {
			return parts, nil
		}
		if err != nil {
			return parts, err
		}
		var b []byte
		if small {
			buf := make([]byte, 3)
			for {
				n, err := p.content.Read(buf)
				b = append(b, buf[:n]...)
				if err == io.EOF {
					break
				}
				if err != nil {
					return parts, err
				}
			}
		} else if b, err = io.ReadAll(p.content); err != nil {
			return parts, err
		}
		parts = append(parts, FormPart{p.name, p.isFile, string(b)})
	}
}

// Limits of archives, for tests at their edges.
const (
	MaxArchives    = maxArchives
	MaxTarEntries  = maxTarEntries
	MaxFolderDepth = maxFolderDepth
)

// EntryName is what becomes of the name of an entry.
func EntryName(name string) (string, error) { return entryName(name) }

// ASCIIJSON is how names that were left out stand in a header.
func ASCIIJSON(list []toolbox.Skipped) string { return asciiJSON(list) }

// Unpack unpacks an archive into dir, as if entries had been seen already. slack, when not negative: the ratio counts beyond it.
func Unpack(format string, from io.Reader, dir string, entries int, limit, slack int64) (toolbox.Extracted, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return toolbox.Extracted{}, err
	}
	defer func() { _ = root.Close() }()
	u := &unpacker{ctx: context.Background(), root: root, in: &counted{r: from}, limit: limit, entries: entries, guess: slack >= 0, slack: slack}
	defer u.forget()
	switch format {
	case formatZip:
		err = u.zip(dir)
	case formatTarGz:
		err = u.gzip()
	default:
		err = u.tar(u.in)
	}
	return u.out, err
}
