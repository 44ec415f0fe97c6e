// Package archtest holds the rules of who may import whom, as a test. It has no code of its own: a change of the structure
// is a change of its one table, with the reason beside it.
package archtest
