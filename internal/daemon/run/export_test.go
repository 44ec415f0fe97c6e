package run

import "time"

// SetReaderStall changes how long a program waits for a reader; the function changes it back.
func SetReaderStall(d time.Duration) (back func()) {
	old := readerStall
	readerStall = d
	return func() { readerStall = old }
}
