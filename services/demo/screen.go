package main

import (
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fatih/color"
	"golang.org/x/term"
)

// progressEvery is how often a line of progress appears where lines cannot be overwritten.
const progressEvery = 5 * time.Second

// screen is what the person in front sees: a heading for each part of the story, lines below it, and one line of progress that is
// overwritten on a terminal. It is safe for several goroutines. Colours come on a terminal only, and not with NO_COLOR set.
type screen struct {
	out      io.Writer
	terminal bool

	mu       sync.Mutex
	part     int
	progress bool // a line of progress stands there, to be overwritten
	shown    time.Time
	said     []string // the latest lines, without colours
}

// remembered is how many lines [screen.latest] returns.
const remembered = 100

var colours = regexp.MustCompile(`\x1b\[[0-9;]*m`)

var (
	bold  = color.New(color.Bold).SprintFunc()
	faint = color.New(color.Faint).SprintFunc()
	green = color.New(color.FgGreen).SprintFunc()
	red   = color.New(color.FgRed).SprintFunc()
	cyan  = color.New(color.FgCyan).SprintFunc()
)

func newScreen(out *os.File) *screen {
	return &screen{out: out, terminal: term.IsTerminal(int(out.Fd()))}
}

// heading opens the next part of the story.
func (s *screen) heading(format string, args ...any) {
	s.mu.Lock()
	s.part++
	n := s.part
	s.mu.Unlock()
	s.print("\n%s", bold(fmt.Sprintf("%d  %s", n, fmt.Sprintf(format, args...))))
}

// line prints one line of a part.
func (s *screen) line(format string, args ...any) { s.print("   "+format, args...) }

// quote prints a line that a service wrote into its log.
func (s *screen) quote(service, text string) {
	s.print("   %s %s", cyan(service+" │"), faint(text))
}

// waiting shows what is being waited for.
func (s *screen) waiting(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	text := faint("   … " + fmt.Sprintf(format, args...))
	switch {
	case s.terminal:
		fmt.Fprintf(s.out, "\r\033[K%s", text)
		s.progress = true
	case time.Since(s.shown) >= progressEvery:
		fmt.Fprintln(s.out, text)
		s.shown = time.Now()
	}
}

// barWidth is how many characters a bar has.
const barWidth = 20

// bar shows how far something is that is counted.
func bar(done, of int, what string) string {
	full := barWidth * min(done, of) / max(of, 1)
	return fmt.Sprintf("%s%s %d of %d %s", strings.Repeat("█", full), strings.Repeat("░", barWidth-full), done, of, what)
}

func (s *screen) print(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.progress {
		fmt.Fprint(s.out, "\r\033[K")
		s.progress = false
	}
	s.shown = time.Now()
	text := fmt.Sprintf(format, args...)
	fmt.Fprintln(s.out, text)
	for line := range strings.SplitSeq(colours.ReplaceAllString(text, ""), "\n") {
		s.said = append(s.said, strings.TrimPrefix(line, "   "))
	}
	s.said = s.said[max(0, len(s.said)-remembered):]
}

// latest returns the latest lines, without colours.
func (s *screen) latest() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.said)
}
