package main

import (
	"os"
	"runtime/debug"
)

// memoryLimit is where the garbage collector begins to work harder. What the
// relay holds at a time is about a third of that: 6 MiB of records that were
// read, and 16 posts of 512 KiB at most, seldom of more than 150 KiB.
const memoryLimit = 40 << 20

// limitMemory sets memoryLimit, unless GOMEMLIMIT says otherwise.
func limitMemory() {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit)
	}
}
