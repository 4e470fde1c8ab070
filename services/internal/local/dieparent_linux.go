package local

import "syscall"

// dieWithParent asks the kernel to kill a child when the thread that started it ends: the second belt, for a supervisor that is
// itself killed with SIGKILL.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
