// Command mutants plants one bug after the other and tells which test finds it.
//
// It reads mutants.txt beside it. Each bug is one replacement of a few lines in one
// file; the tests of one package run against it, by go test -overlay, so that no file
// of the tree is touched. It prints the first test that failed, and after how long. A
// bug that no test finds within a minute makes the exit code 1. `make mutants` runs it
// from the top of the repository.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// patience is how long the tests of a package may take to find a bug, building
// excepted.
const patience = time.Minute

// mutant is one planted bug.
type mutant struct {
	name     string
	file     string
	pkg      string
	old, new []string // whole lines, without the white space around them
}

func main() {
	only := flag.String("run", "", "only bugs whose description or file matches this `regexp`")
	list := flag.String("list", "services/mutants/mutants.txt", "`file` with the bugs")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *list, *only); err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, list, only string) error {
	wanted, err := regexp.Compile(only)
	if err != nil {
		return err
	}
	mutants, err := read(list)
	if err != nil {
		return err
	}
	alive, tried := 0, 0
	for i, m := range mutants {
		if !wanted.MatchString(m.name) && !wanted.MatchString(m.file) {
			continue
		}
		begin := time.Now()
		found, err := m.try(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
		tried++
		if found == "" {
			alive++
			found = "NOT FOUND"
		}
		fmt.Printf("%2d/%d  %5.1f s  %-70s  %s\n", i+1, len(mutants), time.Since(begin).Seconds(), m.name, found)
	}
	if alive > 0 {
		return fmt.Errorf("%d of %d bugs were not found", alive, tried)
	}
	fmt.Printf("%d bugs, all found\n", tried)
	return nil
}

// read reads the list: for each bug a line "# what is wrong", "file PATH", "test
// PACKAGE", then the lines that are replaced, each after "- ", and what replaces them,
// each after "+ ".
func read(list string) (mutants []*mutant, err error) {
	file, err := os.Open(list)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for n := 1; lines.Scan(); n++ {
		mark, rest, _ := strings.Cut(lines.Text(), " ")
		if mark == "#" {
			mutants = append(mutants, &mutant{name: rest})
			continue
		}
		if mark == "" {
			continue
		}
		if len(mutants) == 0 {
			return nil, fmt.Errorf("%s:%d: a bug begins with a line # and what is wrong", list, n)
		}
		m := mutants[len(mutants)-1]
		switch mark {
		case "file":
			m.file = rest
		case "test":
			m.pkg = rest
		case "-":
			m.old = append(m.old, strings.TrimSpace(rest))
		case "+":
			m.new = append(m.new, rest)
		default:
			return nil, fmt.Errorf("%s:%d: must begin with #, file, test, - or +", list, n)
		}
	}
	return mutants, lines.Err()
}

// try runs the tests against the bug and returns the name of the first that failed;
// "": none did.
func (m *mutant) try(ctx context.Context) (found string, err error) {
	dir, err := os.MkdirTemp("", "mutant")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	overlay, err := m.overlay(dir)
	if err != nil {
		return "", err
	}
	binary := filepath.Join(dir, "test")
	build := exec.CommandContext(ctx, "go", "test", "-c", "-overlay", overlay, "-o", binary, m.pkg)
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("does not build: %w\n%s", err, out)
	}
	test := exec.CommandContext(ctx, binary, "-test.v", "-test.failfast", "-test.timeout", patience.String())
	test.Dir = m.pkg
	out, err := test.CombinedOutput()
	var failed *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return "", ctx.Err()
	case err == nil:
		return "", nil
	case !errors.As(err, &failed):
		return "", err
	}
	return firstFailure(string(out)), nil
}

// overlay writes the file with the bug, and the file that tells go test of it.
func (m *mutant) overlay(dir string) (string, error) {
	source, err := os.ReadFile(m.file)
	if err != nil {
		return "", err
	}
	lines := strings.Split(string(source), "\n")
	at := -1
	for i := range lines {
		if m.matches(lines[i:]) {
			if at >= 0 {
				return "", fmt.Errorf("the lines stand in %s twice, from %d and from %d", m.file, at+1, i+1)
			}
			at = i
		}
	}
	if at < 0 || len(m.old) == 0 {
		return "", fmt.Errorf("the lines do not stand in %s", m.file)
	}
	bug := append(append(append([]string{}, lines[:at]...), m.new...), lines[at+len(m.old):]...)
	mutated := filepath.Join(dir, filepath.Base(m.file))
	if err := os.WriteFile(mutated, []byte(strings.Join(bug, "\n")), 0o600); err != nil {
		return "", err
	}
	original, err := filepath.Abs(m.file)
	if err != nil {
		return "", err
	}
	content, err := json.Marshal(map[string]map[string]string{"Replace": {original: mutated}})
	if err != nil {
		return "", err
	}
	overlay := filepath.Join(dir, "overlay.json")
	return overlay, os.WriteFile(overlay, content, 0o600)
}

func (m *mutant) matches(lines []string) bool {
	for i, old := range m.old {
		if i >= len(lines) || strings.TrimSpace(lines[i]) != old {
			return false
		}
	}
	return true
}

var failure = regexp.MustCompile(`(?m)^ *--- FAIL: (\S+)|^panic: (.*)|(WARNING: DATA RACE)`)

// firstFailure returns the test that failed, or what else went wrong; "": the tests
// only hang, which tells nobody what is wrong.
func firstFailure(out string) string {
	match := failure.FindStringSubmatch(out)
	switch {
	case match == nil:
		return "the test program failed"
	case strings.HasPrefix(match[2], "test timed out"):
		return ""
	}
	return match[1] + match[2] + match[3]
}
