package config

import (
	"bufio"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// memoryAvailable is the memory this process may use: the machine's, or its cgroup's limit where that is lower.
// 0 is unknown.
func memoryAvailable() Size {
	memory := machineMemory()
	if limit := cgroupMemory("/proc/self/cgroup", "/sys/fs/cgroup"); limit > 0 && (memory == 0 || limit < memory) {
		memory = limit
	}
	return memory
}

// cgroupMemory is the lowest memory limit on the way from this process's cgroup to the root, version 2 or 1; 0 is none.
func cgroupMemory(procFile, root string) Size {
	f, err := os.Open(procFile)
	if err != nil {
		return 0
	}
	defer func() { _ = f.Close() }()
	lowest := Size(0)
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		// 0::/path (version 2) or 7:memory:/path (version 1)
		parts := strings.SplitN(lines.Text(), ":", 3)
		if len(parts) != 3 {
			continue
		}
		base, file := root, "memory.max"
		if parts[1] != "" {
			if !strings.Contains(","+parts[1]+",", ",memory,") {
				continue
			}
			base, file = filepath.Join(root, "memory"), "memory.limit_in_bytes"
		}
		for dir := filepath.Clean("/" + parts[2]); ; dir = filepath.Dir(dir) {
			text, err := os.ReadFile(filepath.Join(base, dir, file))
			// "max" and version 1's near-infinite number are no limit.
			if n, bad := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil && bad == nil && n > 0 && n < 1<<60 {
				if lowest == 0 || Size(n) < lowest {
					lowest = Size(n)
				}
			}
			if dir == "/" {
				break
			}
		}
	}
	return lowest
}
