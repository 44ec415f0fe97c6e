//go:build linux

package a11y

// ParseID parses the id of a node.
func ParseID(id string) (bus, path string, err error) {
	r, err := parseID(id)
	return r.bus, r.path, err
}
