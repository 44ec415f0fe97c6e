//go:build linux

package fs

import "io"

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
