//go:build linux

package interp

import "github.com/dugout-dev/dugout/api/toolbox"

// ParseRun returns the code, the seconds until the timeout, and the close code of a refusal.
func ParseRun(data []byte) (string, float64, int) {
	o, no := parseRun(data)
	if no != nil {
		return "", 0, no.code
	}
	return o.code, o.timeout.Seconds(), 0
}

// ParseMessage reads a message of a worker.
func ParseMessage(line []byte) (*toolbox.InterpreterMessage, error) {
	m, _, err := parseMessage(line)
	return m, err
}
