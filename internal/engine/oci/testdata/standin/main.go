// Standin answers like the daemon where the tests of the engine need it: GET /version and POST /process/execute, as first
// process of a sandbox. It is what the tests run when the real daemon is not built.
package main

import (
	"encoding/json"
	"flag"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"syscall"
)

func main() {
	socket := flag.String("socket", "", "path of the unix socket")
	readyFD := flag.Int("ready-fd", -1, "descriptor that gets one byte when the socket is there")
	flag.Parse()
	if fd, err := strconv.Atoi(os.Getenv("DUGOUT_MEMINFO_FD")); err == nil {
		syscall.Close(fd) // /proc/meminfo is not served here: reading it fails at once
	}
	runtime.LockOSThread()
	hdr, data := [2]uint32{0x20080522, 0}, [6]uint32{}
	const prCapAmbient, clearAll, prSetDumpable = 47, 4, 4
	syscall.AllThreadsSyscall6(syscall.SYS_PRCTL, prCapAmbient, clearAll, 0, 0, 0, 0)
	syscall.AllThreadsSyscall(syscall.SYS_PRCTL, prSetDumpable, 0, 0)
	if _, _, errno := syscall.Syscall(syscall.SYS_CAPGET, ptr(&hdr), ptr(&data), 0); errno == 0 {
		data[2], data[5] = 0, 0 // inheritable
		syscall.AllThreadsSyscall(syscall.SYS_CAPSET, ptr(&hdr), ptr(&data), 0)
	}
	_ = os.Remove(*socket)
	listener, err := net.Listen("unix", *socket)
	if err != nil {
		os.Exit(2)
	}
	if *readyFD >= 0 {
		ready := os.NewFile(uintptr(*readyFD), "ready")
		_, _ = ready.Write([]byte{1})
		_ = ready.Close()
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM)
	go func() { <-signals; os.Exit(0) }()
	http.HandleFunc("GET /version", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"version":"standin"}`)) })
	http.HandleFunc("POST /process/execute", execute)
	_ = http.Serve(listener, nil)
}

func execute(w http.ResponseWriter, r *http.Request) {
	var in struct{ Command string }
	_ = json.NewDecoder(r.Body).Decode(&in)
	// The shell makes itself the first choice when memory runs out, before it runs anything.
	cmd := exec.Command("/bin/sh", "-c", "echo 500 >/proc/self/oom_score_adj 2>/dev/null\n"+in.Command)
	result, err := cmd.CombinedOutput()
	code := cmd.ProcessState.ExitCode()
	if err != nil && cmd.ProcessState == nil {
		code = -1
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"exitCode": code, "result": string(result), "pid": strconv.Itoa(os.Getpid())})
}
