//go:build linux

package process

// ShellArgs is for tests in shells that the daemon of this host would not pick.
var ShellArgs = shellArgs
