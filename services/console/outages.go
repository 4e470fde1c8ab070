package main

import (
	"slices"
	"time"

	"fault-tolerant-tracing/services/internal/dispatch"
)

// outage is a time in which Jaeger was away, or the relay was holding.
type outage struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to,omitzero"` // zero: it goes on
}

// outages are those that the page remembers. A look each second finds that one has begun or is over. When that was in between, the
// relay knows if it was sending: then the times are those of its own trace of the outage.
type outages struct {
	list []outage
	last time.Time // look
}

// look takes in a state and returns the outages until then, the last one last.
func (o *outages) look(s state) []outage {
	relay, last := s.Relay, o.last
	o.last = s.At
	o.list = slices.DeleteFunc(o.list, func(o outage) bool { return !o.To.IsZero() && s.At.Sub(o.To) > remembered })
	n := len(o.list)
	goesOn := n > 0 && o.list[n-1].To.IsZero()
	switch holding := relay.State == dispatch.Holding; {
	case holding || !s.Jaeger.Up:
		if !goesOn {
			o.list = append(o.list, outage{From: s.At})
			n++
		}
		if at := &o.list[n-1]; holding && relay.Since.Before(at.From) && (n == 1 || relay.Since.After(o.list[n-2].To)) {
			at.From = relay.Since
		}
	case goesOn:
		o.list[n-1].To = s.At
		if relay.State == dispatch.Delivering && relay.Since.After(last) && relay.Since.Before(s.At) {
			o.list[n-1].To = relay.Since
		}
	}
	return slices.Clone(o.list)
}
