//go:build linux

package port

import (
	"net/netip"
	"strings"
)

// ReadTable reads the text of one socket table.
func ReadTable(text string) (map[uint16][]netip.Addr, error) {
	t := table{}
	err := t.read(strings.NewReader(text))
	return t, err
}
