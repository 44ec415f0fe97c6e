//go:build linux

package x11

// ParseSetup parses the first answer of a server.
func ParseSetup(body []byte) (width, height int, err error) {
	x := &conn{}
	err = x.parseSetup(body)
	return x.width, x.height, err
}
