package service

import (
	"os"
	"runtime/debug"
)

// gcPercent lets a heap grow to five times what lives in it before it is collected. What lives in a service that passes records on are
// a few MB; at Go's own 100 % a quarter of the CPU of the whole chain goes into collecting them.
const gcPercent = 400

// CollectSeldom sets gcPercent, unless GOGC says otherwise.
func CollectSeldom() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
}
