package config

import "golang.org/x/sys/unix"

func machineMemory() Size {
	n, err := unix.SysctlUint64("hw.memsize")
	if err != nil {
		return 0
	}
	return Size(n)
}
