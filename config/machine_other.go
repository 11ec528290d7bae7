//go:build !linux && !darwin

package config

func machineMemory() Size { return 0 }
