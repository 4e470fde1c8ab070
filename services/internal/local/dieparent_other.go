//go:build !linux

package local

import "syscall"

// dieWithParent is empty where the kernel has no such service: there a supervisor killed with SIGKILL leaves its program behind.
func dieWithParent() *syscall.SysProcAttr { return nil }
