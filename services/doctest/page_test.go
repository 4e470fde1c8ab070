package doctest

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const root = "../.."

// page is a Markdown file.
type page struct {
	name string // its path below root
	text string
}

// pages are all that people read.
func pages(t *testing.T) (all []page) {
	t.Helper()
	for _, dir := range []string{".", "docs", "deploy"} {
		require.NoError(t, fs.WalkDir(os.DirFS(root), dir, func(name string, entry fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case entry.IsDir() && dir == "." && name != ".":
				return fs.SkipDir
			case !entry.IsDir() && filepath.Ext(name) == ".md":
				all = append(all, page{name, read(t, name)})
			}
			return nil
		}))
	}
	require.Greater(t, len(all), 20)
	return all
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, name))
	require.NoError(t, err)
	return string(text)
}

var (
	block = regexp.MustCompile("(?ms)^ *```([a-z]*)\n(.*?)^ *```$")
	code  = regexp.MustCompile("`([^`\n]+)`")
)

// prose is the text without its blocks.
func (p page) prose() string { return block.ReplaceAllString(p.text, "") }

// blocks are those in a language; "" is what has none: commands.
func (p page) blocks(language string) (texts []string) {
	for _, match := range block.FindAllStringSubmatch(p.text, -1) {
		if match[1] == language {
			texts = append(texts, match[2])
		}
	}
	return texts
}

// inline are the pieces of code within the prose.
func (p page) inline() (texts []string) {
	for _, match := range code.FindAllStringSubmatch(p.prose(), -1) {
		texts = append(texts, match[1])
	}
	return texts
}

// anchors are the names that its headings have in links.
func (p page) anchors() map[string]bool {
	names := map[string]bool{}
	for line := range strings.Lines(p.prose()) {
		if heading := strings.TrimLeft(line, "#"); heading != line {
			names[anchor(heading)] = true
		}
	}
	return names
}

var unnamed = regexp.MustCompile(`[^\pL\pN _-]`)

func anchor(heading string) string {
	return strings.ReplaceAll(unnamed.ReplaceAllString(strings.ToLower(strings.TrimSpace(heading)), ""), " ", "-")
}
