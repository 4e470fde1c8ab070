package main

import "syscall"

// dieWithParent has the kernel kill the child when the thread that started it
// is gone, which it is when its process ends.
func dieWithParent(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGKILL }
