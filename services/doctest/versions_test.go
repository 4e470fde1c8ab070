package doctest

import (
	"path"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

var version = regexp.MustCompile("(?m)^\\| ([^|]+) \\| ([^|]+) \\| \\[[^\\]]*\\]\\(([^)]+)\\): `([^`]+)` \\|$")

// docs/versions.md names the versions that are set where it says so.
func TestVersionsAreThoseInUse(t *testing.T) {
	rows := version.FindAllStringSubmatch(read(t, "docs/versions.md"), -1)
	assert.Greater(t, len(rows), 10)
	for _, row := range rows {
		what, number, file, setting := row[1], row[2], path.Join("docs", row[3]), row[4]
		assert.True(t, strings.Contains(read(t, file), setting), "%s: %s does not say %s", what, file, setting)
		assert.Contains(t, strings.Replace(setting, "k8s.io/api v0.", "v1.", 1), number, what) // v0.37 is the API of Kubernetes 1.37
	}
}
