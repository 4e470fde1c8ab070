//go:build !linux

package main

import "syscall"

// dieWithParent is for Linux. Elsewhere children outlive a parent that is killed;
// one that is interrupted stops them everywhere.
func dieWithParent(*syscall.SysProcAttr) {}
