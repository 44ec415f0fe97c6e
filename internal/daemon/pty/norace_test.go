//go:build linux && !race

package pty_test

const raceEnabled = false
