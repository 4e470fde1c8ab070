package main

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestFaultsThatHappenTogetherAreOnDifferentThings(t *testing.T) {
	all := newProof("", "", "", "", 7, time.Minute).allFaults()
	names := map[string]bool{}
	for _, f := range all {
		assert.False(t, names[f.name], "%s is there twice", f.name)
		names[f.name] = true
	}
	r, again := rand.New(rand.NewPCG(7, 1)), rand.New(rand.NewPCG(7, 1))
	happened := map[string]bool{}
	for range 500 {
		some := together(all, r)
		assert.Contains(t, []int{2, 3}, len(some))
		on := map[string]bool{}
		for _, f := range some {
			happened[f.name] = true
			for _, thing := range strings.Fields(f.on) {
				assert.False(t, on[thing], "two faults are on %s", thing)
				on[thing] = true
			}
		}
		for i, f := range together(all, again) {
			assert.Equal(t, some[i].name, f.name, "the same seed")
		}
	}
	assert.Len(t, happened, len(all))
}
