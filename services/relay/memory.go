package main

import (
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
)

const (
	// memoryLimit is where the garbage collector begins to work harder. What the
	// relay holds at a time is about a third of that: 6 MiB of records that were
	// read, and 16 posts of 512 KiB at most, seldom of more than 150 KiB.
	memoryLimit = 40 << 20

	// memoryNeed is what its container should have: Kafka's batches of records are
	// unpacked whole.
	memoryNeed = 256 << 20
)

// limitMemory sets memoryLimit, unless GOMEMLIMIT says otherwise, and tells of a container
// with less than the relay may need.
func limitMemory(ofContainer func() (bytes uint64, err error), log *slog.Logger) {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit)
	}
	if limit, err := ofContainer(); err == nil && limit < memoryNeed { // else there is no container, or no limit
		log.Warn(fmt.Sprintf("the memory limit of the container is %d MiB: a batch of records may unpack to more, and the relay is then killed "+
			"(exit code 137) and meets it again; nothing is lost, but raise the limit to %d MiB", limit>>20, memoryNeed>>20))
	}
}
