// Package meter shows whoever typed a command how far it has come: a bar on a
// terminal, a line now and then elsewhere.
package meter

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// interval is how far apart two lines are, and two complaints.
const interval = 5 * time.Second

// Meter counts what is done. It is safe for several goroutines.
type Meter struct {
	w     io.Writer
	what  string
	total int64
	bar   *progressbar.ProgressBar // nil: lines

	mu         sync.Mutex
	count      int64
	told       time.Time // the last line
	complained time.Time // the last one of Waiting
}

// New makes a meter for total things that are named what ("records"). It writes to
// w, of which it asks whether it is a terminal.
func New(w io.Writer, what string, total int64) *Meter {
	m := &Meter{w: w, what: what, total: total, told: time.Now()}
	if f, ok := w.(*os.File); ok && total > 0 && term.IsTerminal(int(f.Fd())) {
		m.bar = progressbar.NewOptions64(total, progressbar.OptionSetWriter(w), progressbar.OptionSetDescription(what),
			progressbar.OptionShowCount(), progressbar.OptionShowIts(), progressbar.OptionSetItsString(what),
			progressbar.OptionThrottle(interval/50), progressbar.OptionFullWidth())
	}
	return m
}

// Add tells that n more are done.
func (m *Meter) Add(n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.count += n
	if m.bar != nil {
		_ = m.bar.Add64(n)
		return
	}
	if time.Since(m.told) >= interval {
		m.told = time.Now()
		fmt.Fprintf(m.w, "%d of %d %s\n", m.count, m.total, m.what)
	}
}

// Waiting tells why nothing is done at present. It may be called often.
func (m *Meter) Waiting(reason error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if time.Since(m.complained) < interval {
		return
	}
	m.complained = time.Now()
	line := fmt.Sprintf("%d of %d %s, trying again: %v", m.count, m.total, m.what, reason)
	if m.bar == nil {
		fmt.Fprintln(m.w, line)
		return
	}
	_, _ = progressbar.Bprintln(m.bar, line)
}

// Close leaves the terminal at the beginning of a line. The meter is not used any
// more.
func (m *Meter) Close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.bar != nil {
		_ = m.bar.Exit()
		fmt.Fprintln(m.w)
	}
}
