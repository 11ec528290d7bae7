//go:build !linux

package pgtest

import (
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// dieWithParent does nothing here: the terminal's Ctrl-C reaches the process too, and what outlives a killed parent
// falls to the next sweep.
func dieWithParent(*syscall.SysProcAttr, syscall.Signal) {}

// commandLine is how pid was started, empty when there is no such process.
func commandLine(pid int) string {
	out, _ := exec.Command("ps", "-o", "command=", "-p", strconv.Itoa(pid)).Output() // fails when there is none
	return string(out)
}

// alive says whether pid still runs.
func alive(pid int) bool { return syscall.Kill(pid, 0) == nil }

// children are the processes whose parent is pid. Backends are sessions of their own, so no process group holds them.
func children(pid int) []int {
	out, _ := exec.Command("pgrep", "-P", strconv.Itoa(pid)).Output() // fails when there are none
	var pids []int
	for _, field := range strings.Fields(string(out)) {
		if child, err := strconv.Atoi(field); err == nil {
			pids = append(pids, child)
		}
	}
	return pids
}
