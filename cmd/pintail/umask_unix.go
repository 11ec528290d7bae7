//go:build unix

package main

import "syscall"

// keepPrivate makes what this process creates its user's alone: the copy holds what the source's roles and grants protect.
// Files and folders that are there already keep their modes.
func keepPrivate() { syscall.Umask(0o077) }
