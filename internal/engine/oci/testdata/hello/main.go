// Hello ends with code 0 when it may run at all. It is built for a 32-bit architecture.
package main

import "os"

func main() { os.Stdout.WriteString("hello\n") }
