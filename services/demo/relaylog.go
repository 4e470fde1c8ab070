package main

import (
	"bufio"
	"context"
	"io"
	"iter"
	"os"
	"regexp"
	"strings"
	"time"
)

// The article's two lines, as they stand in the relay's log.
var (
	holdingLine = regexp.MustCompile(`could not send spans to jaeger, retrying offset \d+[^"]*`)
	sendingLine = regexp.MustCompile(`sending \d+ span\(s\) to jaeger`)
)

// quotesShown is how many lines of the relay's log are shown at a time.
const quotesShown = 3

// quoting shows lines of the relay's log as they are written.
type quoting struct {
	stop  context.CancelFunc
	first chan struct{} // closed when a line has been shown
	done  chan struct{} // closed when no more will be
}

// follow calls show for each match of pattern that is written to the end of a log from now on, at most quotesShown times, until it
// is told to stop or ctx ends. A log that cannot be read shows nothing.
func follow(ctx context.Context, file string, pattern *regexp.Regexp, show func(string)) *quoting {
	ctx, stop := context.WithCancel(ctx)
	q := &quoting{stop: stop, first: make(chan struct{}), done: make(chan struct{})}
	log, err := os.Open(file)
	if err == nil {
		_, err = log.Seek(0, io.SeekEnd)
	}
	if err != nil {
		close(q.done)
		return q
	}
	go func() {
		defer close(q.done)
		defer log.Close()
		shown := 0
		for line := range lines(ctx, log) {
			match := pattern.FindString(line)
			if match == "" {
				continue
			}
			show(strings.TrimSpace(match))
			if shown++; shown == 1 {
				close(q.first)
			}
			if shown == quotesShown {
				return
			}
		}
	}()
	return q
}

// end waits until a line has been shown, at most for patience, and then stops following.
func (q *quoting) end(patience time.Duration) {
	select {
	case <-q.first:
	case <-q.done:
	case <-time.After(patience):
	}
	q.stop()
	<-q.done
}

// lines yields the lines of a file that is being written, until ctx ends.
func lines(ctx context.Context, file io.Reader) iter.Seq[string] {
	return func(yield func(string) bool) {
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		reader, line := bufio.NewReader(file), ""
		for {
			part, err := reader.ReadString('\n')
			line += part
			if err == nil {
				if !yield(line) {
					return
				}
				line = ""
				continue
			}
			select { // the end, for now
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	}
}
