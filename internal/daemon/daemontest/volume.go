//go:build linux

package daemontest

import "os"

// Volume returns how much of something a test makes: usual, and full where DUGOUT_TEST_LONG is set, as `make test-long` does.
func Volume(usual, full int) int {
	if os.Getenv("DUGOUT_TEST_LONG") != "" {
		return full
	}
	return usual
}
