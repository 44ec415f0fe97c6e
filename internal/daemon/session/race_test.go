//go:build linux && race

package session_test

func init() { fewer = 8 } // the race detector makes everything slow
