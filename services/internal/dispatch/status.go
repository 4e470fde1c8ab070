package dispatch

import (
	"slices"
	"time"
)

// State says what a dispatcher is doing.
type State string

// The states. Holding is no failure: what the records are for is away or refuses,
// nothing is skipped, and it is tried again.
const (
	Delivering State = "delivering"
	Holding    State = "holding"
	Stopped    State = "stopped"
)

// Outage is a time of holding that is over.
type Outage struct {
	Began, End time.Time // when the breaker opened; the first success
	Attempts   int       // tries that failed since
	Records    int       // read and unfinished at the end
	Errors     []string  // what failed, each text once, in the order of appearance, 5 at most
}

const maxErrors = 5

// note counts a try that failed.
func (o *Outage) note(err error) {
	o.Attempts++
	if text := err.Error(); len(o.Errors) < maxErrors && !slices.Contains(o.Errors, text) {
		o.Errors = append(slices.Clip(o.Errors), text)
	}
}

// Counts are totals since the start.
type Counts struct {
	Done     uint64 `json:"done"`      // records finished, with a part delivered at least
	Skipped  uint64 `json:"skipped"`   // nothing to do
	SetAside uint64 `json:"set_aside"` // records and parts of records
	Retries  uint64 `json:"retries"`   // tries that were refused
}

// Failure is an error that lasts.
type Failure struct {
	Error string    `json:"error"`
	Since time.Time `json:"since"`
}

// Status is what a dispatcher is doing at one moment.
type Status struct {
	State    State      `json:"state"`
	Since    time.Time  `json:"since"`
	InFlight int        `json:"in_flight"` // records, and parts of some, that are being tried
	Waiting  int        `json:"waiting"`   // and those that wait for a try
	Suspects int        `json:"suspects"`  // of these, what was refused before
	Parked   int        `json:"parked"`    // attempts, of suspects, dead letters and what was put off, whose values are not in memory
	Oldest   *time.Time `json:"oldest_unfinished,omitempty"`
	Counts   Counts     `json:"counts"`

	LastError     string     `json:"last_error,omitempty"`
	LastFailed    *time.Time `json:"last_failed,omitempty"`
	LastErrorOver bool       `json:"last_error_over,omitempty"` // a try has gone through since, or all records are finished

	DeadLetters      int      `json:"dead_letters_waiting"`
	DeadLettersError *Failure `json:"dead_letters_error,omitempty"` // since when none can be written, and why
	FetchError       *Failure `json:"fetch_error,omitempty"`        // since when parked values cannot be read again, and why

	Partitions []PartitionStatus `json:"partitions"`
}

// PartitionStatus is the progress in one assigned partition.
type PartitionStatus struct {
	Partition  int32 `json:"partition"`
	Next       int64 `json:"next"`       // the offset to commit; -1: not known yet
	Lag        int64 `json:"lag"`        // records on the topic from there on; -1: not known
	Unfinished int   `json:"unfinished"` // read and unfinished
}

// report is what is kept only to be told.
type report struct {
	state    State
	since    time.Time
	outage   Outage // while the breaker is open
	counts   Counts
	lastErr  error
	lastAt   time.Time
	refusing time.Time // since when tries are refused and none goes through; zero: one did, or none is left
	letters  int
	deadErr  *Failure
	fetchErr *Failure
}

func (r *report) become(s State, now time.Time) { r.state, r.since = s, now }

func (r *report) refused(err error, now time.Time) {
	r.counts.Retries++
	r.lastErr, r.lastAt = err, now
	if r.refusing.IsZero() {
		r.refusing = now
	}
}

func (r *report) recover(now time.Time, records int) Outage {
	over := r.outage
	over.End, over.Records = now, records
	r.become(Delivering, now)
	return over
}

// letterEnds counts a letter that is written, or left to others.
func (r *report) letterEnds() {
	if r.letters--; r.letters == 0 {
		r.deadErr = nil
	}
}

func (r *report) letterError(err error, now time.Time) { r.deadErr = lasting(r.deadErr, err, now) }
func (r *report) fetchError(err error, now time.Time)  { r.fetchErr = lasting(r.fetchErr, err, now) }

// lasting is a failure that goes on, begins or is over.
func lasting(before *Failure, err error, now time.Time) *Failure {
	switch {
	case err == nil:
		return nil
	case before == nil:
		return &Failure{err.Error(), now}
	}
	return &Failure{err.Error(), before.Since}
}

// Status may be called at any time. It does not know the lag.
func (d *Dispatcher) Status() Status {
	d.mu.Lock()
	defer d.mu.Unlock()
	r := &d.report
	putOff := 0
	for _, a := range d.suspects {
		if a.stage == heavy {
			putOff++
		}
	}
	s := Status{
		State: r.state, Since: r.since, Counts: r.counts,
		Suspects:    parts(d.mixed) + parts(d.suspects) + parts(d.buffers[mixed].parked) + parts(d.buffers[suspect].parked) - putOff,
		Parked:      d.parkedAttempts(),
		DeadLetters: r.letters, DeadLettersError: r.deadErr, FetchError: r.fetchErr,
		Partitions: make([]PartitionStatus, 0, len(d.partitions)),
	}
	s.Waiting = d.queue.records + s.Suspects + putOff + len(d.buffers[heavy].parked)
	for a := range d.running {
		s.InFlight += len(a.parts)
	}
	now := time.Now()
	if began, stuck := d.stuck(now); stuck && s.State == Delivering {
		s.State, s.Since = Holding, began
	}
	if began := oldest(d.writing); s.DeadLettersError == nil && now.Sub(began) >= noAnswer && !began.IsZero() {
		s.DeadLettersError = &Failure{"kafka has not acknowledged what is to be set aside", began}
	}
	if r.lastErr != nil {
		at := r.lastAt
		s.LastError, s.LastFailed, s.LastErrorOver = r.lastErr.Error(), &at, r.refusing.IsZero()
	}
	for id, p := range d.partitions {
		if at := p.Oldest(); !at.IsZero() && (s.Oldest == nil || at.Before(*s.Oldest)) {
			s.Oldest = &at
		}
		next, known := p.Next()
		if !known {
			next = -1
		}
		s.Partitions = append(s.Partitions, PartitionStatus{Partition: id, Next: next, Lag: -1, Unfinished: p.Pending()})
	}
	slices.SortFunc(s.Partitions, func(a, b PartitionStatus) int { return int(a.Partition - b.Partition) })
	return s
}

func parts(attempts []*attempt) (n int) {
	for _, a := range attempts {
		n += len(a.parts)
	}
	return n
}

// stuck tells since when the endpoint looks away, though the breaker is closed: nothing
// goes through, and what is tried is refused, or a try has no answer. A few suspects on
// an idle topic cannot open the breaker: they may be guilty.
func (d *Dispatcher) stuck(now time.Time) (since time.Time, stuck bool) {
	if waits := len(d.running)+len(d.mixed)+len(d.suspects)+len(d.buffers[mixed].parked)+len(d.buffers[suspect].parked) > 0; waits && !d.report.refusing.IsZero() && now.Sub(d.report.refusing) >= noAnswer {
		since = d.report.refusing
	}
	for a := range d.running {
		if now.Sub(a.began) >= noAnswer && d.passed < a.tick && (since.IsZero() || a.began.Before(since)) {
			since = a.began
		}
	}
	return since, !since.IsZero()
}

// oldest tells when the first of some tries began; zero: there is none.
func oldest(tries map[*attempt]struct{}) (began time.Time) {
	for a := range tries {
		if began.IsZero() || a.began.Before(began) {
			began = a.began
		}
	}
	return began
}
