package config

import "golang.org/x/sys/unix"

func machineMemory() Size {
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) != nil {
		return 0
	}
	return Size(uint64(info.Totalram) * uint64(info.Unit))
}
