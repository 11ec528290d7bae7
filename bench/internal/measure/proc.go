package measure

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of CPU times in /proc/<pid>/stat: USER_HZ is 100 on every linux.
const tick = 10 * time.Millisecond

// stat is what counts here of /proc/<pid>/stat.
type stat struct {
	parent int
	cpu    time.Duration // of the process and of the children it has waited for
}

func readStat(pid int) (stat, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return stat{}, err
	}
	// "pid (command) state ppid …": the command may hold blanks and brackets. Behind it, counted from 0: 1 is the
	// parent, 11 to 14 are utime, stime, cutime and cstime.
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(fields) < 15 {
		return stat{}, fmt.Errorf("/proc/%d/stat has %d fields behind the command, want 15", pid, len(fields))
	}
	var s stat
	if s.parent, err = strconv.Atoi(fields[1]); err != nil {
		return stat{}, err
	}
	for _, f := range fields[11:15] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return stat{}, err
		}
		s.cpu += time.Duration(n) * tick
	}
	return s, nil
}

// treeCPU is what a postmaster and its children have used so far, those that ended included; 0 for pid 0. Backends are
// children of the postmaster and have none of their own.
func treeCPU(pid int) (time.Duration, error) {
	if pid == 0 {
		return 0, nil
	}
	// A child that ends between two readings would count twice or not at all: read until the same children are there
	// before and after.
	for range 100 {
		before, err := children(pid)
		if err != nil {
			return 0, err
		}
		own, err := readStat(pid)
		if err != nil {
			return 0, err
		}
		total := own.cpu
		for _, child := range before {
			s, err := readStat(child)
			if err != nil {
				total = -1
				break
			}
			total += s.cpu
		}
		after, err := children(pid)
		if err != nil {
			return 0, err
		}
		if total >= 0 && slices.Equal(before, after) {
			return total, nil
		}
	}
	return 0, errors.New("the server's processes change too fast to add up their CPU time")
}

func children(pid int) ([]int, error) {
	paths, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, p := range paths {
		child, err := strconv.Atoi(filepath.Base(p))
		if err != nil {
			continue
		}
		if s, err := readStat(child); err == nil && s.parent == pid { // an error: it ended meanwhile
			pids = append(pids, child)
		}
	}
	slices.Sort(pids)
	return pids, nil
}

// highWater is the largest resident set of a process so far in bytes, 0 when it is gone.
func highWater(pid int) int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, rest, found := strings.Cut(string(text), "VmHWM:")
	if !found {
		return 0 // a zombie has no memory
	}
	kilobytes, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
	if err != nil {
		return 0
	}
	return kilobytes * 1024
}

// Peak is the largest resident set of a running process so far in bytes, 0 when it is gone.
func Peak(pid int) int64 { return highWater(pid) }

// CPU is what a running process and the children it has waited for have used so far.
func CPU(pid int) (time.Duration, error) {
	s, err := readStat(pid)
	return s.cpu, err
}

// TreeCPU is what a postmaster and its children have used so far.
func TreeCPU(pid int) (time.Duration, error) { return treeCPU(pid) }

// ResetPeak makes Peak begin anew from what is resident now.
func ResetPeak(pid int) error {
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0)
}
