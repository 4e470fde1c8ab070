package doctest

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What README shows of a run is of the run in the picture: `make screenshots` leaves its text beside it.
func TestTheRunInREADMEIsThatOfThePicture(t *testing.T) {
	run := read(t, "docs/pictures/terminal.txt")
	shown := page{text: read(t, "README.md")}.blocks("text")
	require.NotEmpty(t, shown)
	assert.Truef(t, strings.HasSuffix(strings.TrimSpace(run), "\n"+strings.TrimSpace(shown[0])), "README shows\n%s\nthe picture\n%s", shown[0], run)
}
