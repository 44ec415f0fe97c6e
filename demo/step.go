package main

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// steps prints what happens and how long each part takes.
type steps struct {
	n     int
	began time.Time
	name  string
}

func (s *steps) begin(name string) {
	s.n++
	s.name, s.began = name, time.Now()
	fmt.Printf("\n%d. %s\n", s.n, name)
}

// note prints something about the step under way.
func (s *steps) note(text string) { fmt.Println("   " + text) }

// end prints what came of the step, and its time.
func (s *steps) end(text string) {
	took := fmt.Sprintf("%.2f s", time.Since(s.began).Seconds())
	lines := strings.Split(text, "\n")
	for _, line := range lines[:len(lines)-1] {
		s.note(line)
	}
	last := lines[len(lines)-1]
	fmt.Printf("   %s%s%8s\n", last, strings.Repeat(" ", max(1, 76-utf8.RuneCountInString(last))), took)
}

// result prints what a program wrote and its exit code, and returns an error when that is not 0.
func (s *steps) result(output string, code int) error {
	for _, line := range strings.Split(strings.TrimRight(output, "\n"), "\n") {
		s.note("| " + printable(line))
	}
	s.end(fmt.Sprintf("exit code %d", code))
	if code != 0 {
		return fmt.Errorf("%s: ended with code %d", s.name, code)
	}
	return nil
}

// printable takes out what would steer the terminal: the text comes from a sandbox.
func printable(line string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' || r == utf8.RuneError || r >= 0x7f && r < 0xa0 {
			return -1
		}
		return r
	}, line)
}
