//go:build linux

//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0

// Command dugoutd is the daemon inside a sandbox: its first process and its toolbox API. Everything it does is in
// internal/daemon; this file is the process itself.
//
// A sandbox waits for it to start, and a host runs hundreds of it. So it asks the kernel for the number of cores once and
// does not watch the control group for changes (the two settings below save 0.1 ms and a timer), and it links nothing large.
package main

import "os"

// version is set by the build.
var version = "0.0.0-dev"

func main() { os.Exit(serve(os.Args[1:])) }
