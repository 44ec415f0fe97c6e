package code

import _ "embed" // the Python prelude

//go:embed prelude.py
var prelude string

// Prelude is the Python text that turns what plt.show() shows into charts. A program that executes it as a module finds
// Finder there, to be put into sys.meta_path, and emit, called with each chart when it is set.
func Prelude() string { return prelude }
