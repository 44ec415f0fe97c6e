//go:build !unix

package cli

import (
	"os"
	"time"
)

// readable cannot look ahead here: standard input is read only where --stdin asks for it, or when it is a file.
func readable(f *os.File, _ time.Duration) bool {
	st, err := f.Stat()
	return err == nil && st.Mode().IsRegular()
}

func hasInput(*os.File) bool { return false }
