package pgtest

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// dieWithParent has the kernel send sig to the process when the thread that started it ends. A group of its own keeps
// the terminal's Ctrl-C away from it: who started it decides when it stops.
func dieWithParent(a *syscall.SysProcAttr, sig syscall.Signal) {
	a.Pdeathsig = sig
	a.Setpgid = true
}

// commandLine is how pid was started, empty when there is no such process.
func commandLine(pid int) string {
	text, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
	return strings.ReplaceAll(string(text), "\x00", " ")
}

// alive says whether pid still runs; one that ended but was not waited for does not.
func alive(pid int) bool {
	state, _ := procStat(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	return state != "" && state != "Z" && state != "X"
}

// children are the processes whose parent is pid. Backends are sessions of their own, so no process group holds them.
func children(pid int) []int {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	var pids []int
	for _, stat := range stats {
		if _, parent := procStat(stat); parent == pid {
			child, _ := strconv.Atoi(filepath.Base(filepath.Dir(stat)))
			pids = append(pids, child)
		}
	}
	return pids
}

// procStat reads the state letter and the parent of a process; both are empty when it is gone.
func procStat(path string) (state string, parent int) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", 0
	}
	// "pid (command) state ppid …"; the command may hold blanks and brackets
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(fields) < 2 {
		return "", 0
	}
	parent, _ = strconv.Atoi(fields[1])
	return fields[0], parent
}
