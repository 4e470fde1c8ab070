// Command mutants plants one bug after the other and tells which test finds it.
//
// It reads mutants.txt beside it. Each bug is one replacement of a few lines in one
// file; the tests of one package run against it, by go test -overlay, so that no file
// of the tree is touched. It prints the first test that failed, and after how long.
//
// A bug is found if a test fails within a minute, and the same test passes without the
// bug. A test program that hangs has found nothing: it tells nobody what is wrong. If a
// bug is not found the exit code is 1. `make mutants` runs it from the top of the
// repository.
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
	tests    string   // which run, as for go test -run; empty: all
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
	dir, err := os.MkdirTemp("", "mutants")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	l := lab{dir: dir, sound: map[string]bool{}}
	alive, tried := 0, 0
	for _, m := range mutants {
		if !wanted.MatchString(m.name) && !wanted.MatchString(m.file) {
			continue
		}
		found, took, err := l.try(ctx, m)
		switch tried++; {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			alive++
			found = err.Error()
		case found == "":
			alive++
			found = "NOT FOUND"
		}
		fmt.Printf("%3d  %5.1f s  %-80s  %s %s\n", tried, took.Seconds(), m.name, m.pkg, found)
	}
	if alive > 0 {
		return fmt.Errorf("%d of %d bugs were not found", alive, tried)
	}
	fmt.Printf("%d bugs, all found\n", tried)
	return nil
}

// read reads the list: for each bug a line "# what is wrong", "file PATH", "test
// PACKAGE", with a regexp of tests behind it where all of the package would take long,
// then the lines that are replaced, each after "- ", and what replaces them, each after
// "+ ".
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
			m.pkg, m.tests, _ = strings.Cut(rest, " ")
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

// lab is where the bugs are tried.
type lab struct {
	dir   string
	sound map[string]bool // by package and test, whether it passes without a bug
}

// try runs the tests against the bug and returns the name of the first that failed, and
// how long all took; "": none did.
func (l *lab) try(ctx context.Context, m *mutant) (found string, took time.Duration, err error) {
	overlay, err := m.overlay(l.dir)
	if err != nil {
		return "", 0, err
	}
	program := filepath.Join(l.dir, "mutant.test")
	if err := build(ctx, program, m.pkg, "-overlay", overlay); err != nil {
		return "", 0, err
	}
	began := time.Now()
	found, err = test(ctx, program, m.pkg, m.tests)
	took = time.Since(began)
	if found == "" || err != nil {
		return "", took, err
	}
	sound, err := l.passes(ctx, m.pkg, found)
	if err == nil && !sound {
		err = fmt.Errorf("%s fails without the bug, too", found)
	}
	return found, took, err
}

// passes tells whether a test passes without a bug. It is asked once for each.
func (l *lab) passes(ctx context.Context, pkg, name string) (bool, error) {
	name, _, _ = strings.Cut(name, "/")
	if sound, known := l.sound[pkg+name]; known {
		return sound, nil
	}
	program := filepath.Join(l.dir, strings.ReplaceAll(pkg, "/", "-")+".test")
	if _, err := os.Stat(program); err != nil {
		if err := build(ctx, program, pkg); err != nil {
			return false, err
		}
	}
	failed, err := test(ctx, program, pkg, "^"+name+"$")
	l.sound[pkg+name] = failed == ""
	return failed == "", err
}

func build(ctx context.Context, program, pkg string, flags ...string) error {
	args := append([]string{"test", "-c", "-ldflags=-s -w", "-o", program}, flags...)
	if out, err := exec.CommandContext(ctx, "go", append(args, pkg)...).CombinedOutput(); err != nil {
		return fmt.Errorf("build the tests of %s: %w\n%s", pkg, err, out)
	}
	return nil
}

// test runs the tests of a program until one fails, and returns its name; "": none did.
func test(ctx context.Context, program, dir, tests string) (failed string, err error) {
	cmd := exec.CommandContext(ctx, program, "-test.v", "-test.failfast", "-test.timeout", patience.String(), "-test.run", tests)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return "", ctx.Err()
	case err == nil && strings.Contains(string(out), "no tests to run"):
		return "", fmt.Errorf("%s has no test %s", dir, tests)
	case err == nil:
		return "", nil
	case errors.As(err, &exit):
		return firstFailure(string(out)), nil
	}
	return "", err
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

var (
	failure = regexp.MustCompile(`(?m)^ *--- FAIL: (\S+)|^panic: test timed out`)
	begun   = regexp.MustCompile(`(?m)^=== RUN +(\S+)`)
)

// firstFailure returns the test that failed first, or that began last before the whole
// program failed; "": the program hangs.
func firstFailure(out string) string {
	if match := failure.FindStringSubmatch(out); match != nil {
		return match[1]
	}
	name := "before any test"
	for _, match := range begun.FindAllStringSubmatch(out, -1) {
		name = match[1]
	}
	return name
}
