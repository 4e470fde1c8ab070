//go:build !linux

package main

// scarcities are none where the limits of a process that runs cannot be changed.
func scarcities() []fault { return nil }
