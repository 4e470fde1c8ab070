package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"fault-tolerant-tracing/services/internal/verdict"
)

// unsent is how long before it is killed a client may have ended a span that it takes along: a flush interval, a second more where
// Kafka has just gone away, and something for a machine that is busy.
const unsent = flushInterval + time.Second + 500*time.Millisecond

// ledger is the file in which a client writes, line by line, how many spans have ended, and when. What is written there outlives it.
type ledger struct{ file *os.File }

func newLedger(dir, life string) (*ledger, error) {
	file, err := os.OpenFile(filepath.Join(dir, life), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	return &ledger{file}, err
}

func (l *ledger) ended(spans int64) error {
	_, err := fmt.Fprintf(l.file, "%d %d\n", spans, time.Now().UnixMicro())
	return err
}

// complete says that all spans were sent.
func (l *ledger) complete() error {
	_, err := fmt.Fprintln(l.file, "complete")
	return err
}

func (l *ledger) close() error { return l.file.Close() }

// life is what a ledger tells of one process, and what has come of it.
type life struct {
	name     string
	marks    []mark
	complete bool
	came     []bool // which of its spans are where they should be: on tracing-topic, or in Jaeger
}

// mark says that by then so many spans had ended.
type mark struct {
	spans int64
	at    time.Time
}

// readLedgers reads all ledgers of a folder.
func readLedgers(dir string) (map[string]*life, error) {
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	lives := map[string]*life{}
	for _, f := range files {
		l := &life{name: f.Name()}
		if err := l.read(filepath.Join(dir, f.Name())); err != nil {
			return nil, err
		}
		lives[l.name] = l
	}
	return lives, nil
}

func (l *life) read(name string) error {
	text, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(text)) {
		line, whole := strings.CutSuffix(line, "\n")
		switch {
		case !whole: // it was killed in it
			continue
		case line == "complete":
			l.complete = true
			continue
		}
		spans, at, _ := strings.Cut(line, " ")
		n, err := strconv.ParseInt(spans, 10, 64)
		micros, err2 := strconv.ParseInt(at, 10, 64)
		if err := errors.Join(err, err2); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		l.marks = append(l.marks, mark{n, time.UnixMicro(micros)})
	}
	if len(l.marks) > 0 {
		l.came = make([]bool, l.marks[len(l.marks)-1].spans+1)
	}
	return nil
}

// each calls do with each span, when it had ended, and how long before the end of the process.
func (l *life) each(do func(number int64, ended time.Time, before time.Duration)) {
	if len(l.marks) == 0 {
		return
	}
	last := l.marks[len(l.marks)-1]
	n := int64(1)
	for _, m := range l.marks {
		for ; n <= m.spans; n++ {
			do(n, m.at, last.at.Sub(m.at))
		}
	}
}

// takenAlong tells whether a span that had ended so long before the end of the process, and did not come, was one that it had not yet sent.
func (l *life) takenAlong(before time.Duration) bool { return !l.complete && before <= unsent }

// clientSpan names a span by the process and its number in it.
type clientSpan struct {
	life   string
	number int64
}

// clientSpanOf tells which one a span is. What is none has number 0.
func clientSpanOf(s verdict.Span) clientSpan {
	number, err := strconv.ParseInt(strings.TrimPrefix(s.Tags[numberTag], "int64 "), 10, 64)
	if err != nil || number < 0 {
		return clientSpan{}
	}
	return clientSpan{strings.TrimPrefix(s.Process[lifeTag], "string "), number}
}

// came notes that a span is where it should be, if it is of one of the lives.
func came(lives map[string]*life, s verdict.Span) {
	of := clientSpanOf(s)
	if l := lives[of.life]; l != nil && of.number < int64(len(l.came)) {
		l.came[of.number] = true
	}
}

// clientSpans are those of the clients, as their ledgers know them.
type clientSpans struct {
	Ended   int64 // that the ledgers know
	Lives   int
	Killed  int           // of these
	Oldest  time.Duration // how long before a kill the oldest span had ended that a process took along
	lost    map[int]int   // by phase: on no topic though they had time, or nothing was killed
	notSent map[int]int   // by phase: taken along by a process that was killed
	told    []string      // of those lost
}

// count compares the ledgers of a folder with tracing-topic.
func count(ctx context.Context, dir string, brokers []string, phaseAt func(time.Time) int) (*clientSpans, error) {
	lives, err := readLedgers(dir)
	if err != nil {
		return nil, fmt.Errorf("read the ledgers: %w", err)
	}
	err = verdict.Scan(ctx, brokers, func(r *kgo.Record) error {
		spans, _ := verdict.FromTopic(r.Value) // what holds none is another's
		for _, s := range spans {
			came(lives, s)
		}
		return nil
	}, tracingTopic)
	if err != nil {
		return nil, err
	}
	c := &clientSpans{lost: map[int]int{}, notSent: map[int]int{}}
	for _, l := range lives {
		c.add(l, phaseAt)
	}
	return c, nil
}

func (c *clientSpans) add(l *life, phaseAt func(time.Time) int) {
	c.Lives++
	if !l.complete {
		c.Killed++
	}
	if len(l.marks) > 0 {
		c.Ended += l.marks[len(l.marks)-1].spans
	}
	l.each(func(number int64, ended time.Time, before time.Duration) {
		if l.came[number] {
			return
		}
		if l.takenAlong(before) {
			c.notSent[phaseAt(ended)]++
			c.Oldest = max(c.Oldest, before)
			return
		}
		c.lost[phaseAt(ended)]++
		c.told = append(c.told, fmt.Sprintf("span %d of client %s is not on tracing-topic; it had ended %s before the client did", number, l.name, before))
	})
}
