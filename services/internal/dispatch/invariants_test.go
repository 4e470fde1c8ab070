package dispatch

import (
	"slices"
	"testing/synctest"
	"time"
)

// check checks what holds at any time.
func (w *world) check() {
	synctest.Wait()
	for _, m := range w.members {
		m.d.mu.Lock()
		w.mu.Lock()
		m.check()
		w.mu.Unlock()
		m.d.mu.Unlock()
		m.checkStatus()
	}
}

func (m *member) check() {
	w, d := m.w, m.d
	var used, largest [stages]int
	for _, r := range m.live {
		rec := m.known[r]
		for s, held := range r.held {
			if held < 0 {
				w.violate("held %d times in stage %d: %v", held, s, rec)
			}
			if held > 0 {
				used[s] += r.size
				largest[s] = max(largest[s], r.size)
			}
		}
		if r.Value != nil && r.dropped {
			w.violate("in memory, but counts as dropped: %v", rec)
		}
		if r.Value != nil && r.held == [stages]int{} && r.mark != nil {
			w.violate("in memory, but not counted: %v", rec)
		}
		if r.Value == nil && !rec.null && !rec.gone && r.held != [stages]int{} && !m.fetching {
			w.violate("counted, but not in memory: %v", rec)
		}
	}
	for s, b := range d.buffers {
		if b.used != used[s] {
			w.violate("buffer %d counts %d bytes, %d are held", s, b.used, used[s])
		}
		if bound := max(b.max, w.config.MaxBytes) + largest[s]; b.used > bound && w.refetch {
			w.violate("buffer %d holds %d bytes, %d are allowed", s, b.used, b.max)
		}
		if m.fetching || len(b.parked) == 0 {
			continue
		}
		if d.report.fetchErr != nil { // they wait for the next try to read them
			continue
		}
		need := 0
		for _, p := range b.parked[0].parts {
			if p.held[s] == 0 {
				need += p.size
			}
		}
		if b.used == 0 || b.used+need <= b.max {
			select {
			case <-m.idle:
			default:
				w.violate("%d attempts are parked in stage %d, though there is room for one of %d bytes: %d of %d", len(b.parked), s, need, b.used, b.max)
			}
		}
	}
	if len(d.running) != m.calls {
		w.violate("%d tries counted, %d under way", len(d.running), m.calls)
	}
	m.checkPieces()
	m.live = slices.DeleteFunc(m.live, func(r *Record) bool { return r.mark == nil || m.told[r] && r.held == [stages]int{} })
}

// checkPieces checks that each piece that is not finished is in one place.
func (m *member) checkPieces() {
	w, d := m.w, m.d
	places := make(map[*Record]pieces)
	place := func(r *Record, from, to int, where string) {
		if mask := span(from, to); places[r]&mask != 0 {
			w.violate("in two places, now %s: %v", where, m.known[r])
		} else {
			places[r] |= mask
		}
	}
	attempts := func(list []*attempt, where string) {
		for _, a := range list {
			for _, p := range a.parts {
				place(p.Record, p.From, p.To, where)
			}
		}
	}
	queued := 0
	for _, l := range d.queue.lines {
		queued += len(l.records)
		for _, r := range l.records {
			place(r, 0, max(r.Pieces, 1), "in the queue")
		}
	}
	if queued != d.queue.records {
		w.violate("the queue counts %d records, it has %d", d.queue.records, queued)
	}
	for a := range d.running {
		attempts([]*attempt{a}, "running")
	}
	attempts(d.suspects, "suspect")
	attempts(d.mixed, "mixed")
	for _, b := range d.buffers {
		attempts(b.parked, "parked")
	}
	for r, mask := range m.writing {
		if mask&places[r] != 0 && !r.partition.gone {
			w.violate("pieces %b are set aside and elsewhere: %v", mask, m.known[r])
		}
		places[r] |= mask
	}
	if m.fetching || m.crashed {
		return
	}
	for _, r := range m.live {
		rec := m.known[r]
		if r.mark == nil || m.told[r] || r.forgotten || r.partition.leaving {
			continue
		}
		n := 0
		for mask := places[r]; mask != 0; mask &= mask - 1 {
			n++
		}
		if n != r.left {
			w.violate("%d pieces are left and %b somewhere: %v", r.left, places[r], rec)
		}
	}
}

func (m *member) checkStatus() {
	w := m.w
	s := m.d.Status()
	w.mu.Lock()
	defer w.mu.Unlock()
	if s.Waiting < 0 || s.Suspects < 0 || s.Parked < 0 || s.DeadLetters < 0 || s.InFlight < 0 {
		w.violate("%+v", s)
	}
	if s.DeadLetters == 0 && s.DeadLettersError != nil {
		w.violate("no dead letters wait, but there is an error: %+v", s)
	}
	left := s.InFlight + s.Waiting
	if left == 0 {
		m.failures = 0
	}
	down, age := w.endpoint == unreachable || w.endpoint == refusing, time.Since(w.since)
	switch {
	case down && m.failures > 20 && age > 20*time.Second && s.State == Delivering:
		w.violate("the state is delivering after %d failures in a row in %v: %+v", m.failures, age, s)
	case down && m.failures > 50+2*len(w.records)+int(age/(100*time.Millisecond)):
		w.violate("%d tries in %v while the endpoint is away", m.failures, age)
	}
}

// checkEnd checks what holds when everything is done.
func (w *world) checkEnd(m *member) {
	m.commit()
	d := m.d
	status := d.Status()
	d.mu.Lock()
	defer d.mu.Unlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	for id, l := range w.topic {
		if slices.ContainsFunc(l.records[l.low:], func(rec *record) bool { return rec != nil }) && (l.committed != l.end() || l.of != l.generation) {
			w.violate("partition %d ends at %d, committed is %d", id, l.end(), l.committed)
		}
	}
	good := 0
	for _, rec := range w.records {
		if !rec.gone {
			if !rec.done() || rec.bad&rec.delivered != 0 && rec.answer != partial {
				w.violate("at the end: %v", rec)
			}
			good += rec.pieces
		}
	}
	for s, b := range d.buffers {
		if (b.used != 0 || len(b.parked) != 0) && !m.fetching { // a partition that has left may still be read
			w.violate("buffer %d has %d bytes and %d parked at the end", s, b.used, len(b.parked))
		}
	}
	if len(d.running) != 0 || len(d.mixed)+len(d.suspects) != 0 || d.queue.records != 0 {
		w.violate("left at the end: %d running, %d suspects, %d queued", len(d.running), len(d.suspects), d.queue.records)
	}
	if status.Suspects != 0 || status.Waiting != 0 || status.InFlight != 0 || status.DeadLetters != 0 || status.Parked != 0 ||
		status.DeadLettersError != nil || status.FetchError != nil || status.Oldest != nil || status.State != Delivering {
		w.violate("status at the end: %+v", status)
	}
	for _, p := range d.partitions {
		if p.underWay != 0 {
			w.violate("partition %d is busy at the end: %d", p.id, p.underWay)
		}
	}
	m.checkCounts(status.Counts)
	if !w.fair {
		goodPieces.Add(uint64(good))
		unlucky.Add(uint64(w.unlucky))
	}
}

// checkCounts checks the totals, as far as they are known for sure.
func (m *member) checkCounts(counts Counts) {
	finished := 0
	for r := range m.told {
		if !r.forgotten && m.known[r].delivered != 0 {
			finished++
		}
	}
	if int(counts.Done) > finished {
		m.w.violate("%d records done of %d: %+v", counts.Done, finished, counts)
	}
}
