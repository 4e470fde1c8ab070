package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Two minutes of what `make prove` does, after `make build`: too long for every change.
func TestNothingIsLost(t *testing.T) {
	if os.Getenv("PROVE_TEST") == "" {
		t.Skip("takes four minutes: PROVE_TEST=1")
	}
	root, err := filepath.Abs("../..")
	require.NoError(t, err)
	work := t.TempDir()
	require.NoError(t, newProof(filepath.Join(root, "bin", "prove"), root, work, "", 7, 2*time.Minute).run(t.Context()), "see %s", work)
}
