package doctest

import (
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// link is one of Markdown, or a picture's in HTML.
var link = regexp.MustCompile(`\[[^\]]*\]\(([^)\s]+)\)|(?:src|srcset)="([^"\s]+)"`)

// Every link to a file of this repository leads to one, and to a heading of it, if it names one.
func TestLinksLeadSomewhere(t *testing.T) {
	all := pages(t)
	anchors := map[string]map[string]bool{}
	for _, p := range all {
		anchors[p.name] = p.anchors()
	}
	found := 0
	for _, p := range all {
		for _, match := range link.FindAllStringSubmatch(code.ReplaceAllString(p.prose(), "code"), -1) {
			to := match[1] + match[2]
			if strings.Contains(to, "://") {
				continue
			}
			found++
			file, heading, named := strings.Cut(to, "#")
			target := p.name
			if file != "" {
				target = path.Join(path.Dir(p.name), file)
			}
			if _, err := os.Stat(filepath.Join(root, target)); !assert.NoError(t, err, "%s links to %s", p.name, to) {
				continue
			}
			if named {
				assert.True(t, anchors[target][heading], "%s links to %s: no such heading", p.name, to)
			}
		}
	}
	assert.Greater(t, found, 50)
}

func TestAnchorsAreThoseOfGitHub(t *testing.T) {
	for heading, want := range map[string]string{
		" When Kafka gives nothing\n":              "when-kafka-gives-nothing",
		" The article's steps, by hand":            "the-articles-steps-by-hand",
		" 2. Make a module that uses the `module`": "2-make-a-module-that-uses-the-module",
		" What must stay as it is in jaeger.yaml":  "what-must-stay-as-it-is-in-jaegeryaml",
	} {
		assert.Equal(t, want, anchor(heading))
	}
}
