// Command ui writes the files of the Jaeger UI into a folder, ready for
// jaeger_query.ui.assets_path of jaeger.yaml:
//
//	ui DIR
//
// The module it takes them from embeds a build of the UI and meant it for a
// server of its own: the files are compressed, and the UI's settings are
// written into index.html. Here they are written out plain, with the settings
// left for Jaeger to fill in.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"

	jaegerui "github.com/tonistiigi/jaeger-ui-rest"
)

const index = "index.html"

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: ui DIR")
		os.Exit(2)
	}
	if err := write(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "ui:", err)
		os.Exit(1)
	}
}

// write copies every file of the UI below dir, which is made if it is missing.
func write(dir string) error {
	files := assets{jaegerui.FS(jaegerui.Config{})}
	return fs.WalkDir(files, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		target := filepath.Join(dir, filepath.FromSlash(name))
		if entry.IsDir() {
			return os.MkdirAll(target, 0o755)
		}
		data, err := fs.ReadFile(files, name)
		if err != nil {
			return err
		}
		if name == index {
			if data, err = restore(data); err != nil {
				return err
			}
		}
		return os.WriteFile(target, data, 0o644)
	})
}

// restore puts the placeholder of the settings back, which Jaeger's query
// service looks for.
func restore(page []byte) ([]byte, error) {
	settings, err := json.Marshal(jaegerui.Config{})
	if err != nil {
		return nil, err
	}
	const assign = "const JAEGER_CONFIG = "
	written := fmt.Appendf(nil, "%s%s;", assign, settings)
	if !bytes.Contains(page, written) {
		return nil, errors.New(index + " does not hold the settings in the expected form")
	}
	return bytes.Replace(page, written, []byte(assign+"DEFAULT_CONFIG;"), 1), nil
}

// assets makes an fs.FS of an http.FileSystem, whose names begin with a slash.
type assets struct{ http.FileSystem }

func (a assets) Open(name string) (fs.File, error) {
	return a.FileSystem.Open("/" + name)
}
