package main

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"

	thrift "github.com/uber/jaeger-client-go/thrift-gen/jaeger"
)

const (
	// poisoned is the operation of the spans that do not get to Jaeger.
	poisoned = "poison"

	// refused is a client process of which a proxy before Jaeger takes nothing.
	refused = clients

	besideFor = 40 // seconds
	warmUpFor = 20 // seconds
)

// scenario is what is written to a topic: good records, and bad ones.
type scenario struct {
	name, label, target string
	fault               http.HandlerFunc // how the proxy answers to what it refuses; nil: it refuses nothing
	phases              func() []phase
}

// phase is a number of records that are written in order, at a rate; 0: as fast as
// Kafka takes them.
type phase struct {
	perSecond int
	order     []*source
}

// scenarios are in the order of the table.
func scenarios() []scenario {
	long := strings.Repeat("x", 68_000)
	tag := text("long", long[:65_000])
	refusedSpan := func() *source { return &source{clients: []int{refused}, size: 1, bad: 1} }
	return []scenario{
		beside("tag", "a tag of 65 000 bytes", nil, func() *source { return &source{size: 1, bad: 1, tag: tag} }),
		beside("one", "9 spans, one with a tag of 65 000 bytes", nil, func() *source { return &source{size: 9, bad: 1, tag: tag} }),
		beside("binary", "a binary tag of 32 768 bytes", nil, func() *source { return &source{size: 1, bad: 1, tag: binaryTag(32_768)} }),
		beside("spans", "13 spans, each with a tag of 68 000 bytes", nil, func() *source { return &source{size: 13, bad: 13, tag: text("long", long)} }),
		beside("garbage", "garbage", nil, func() *source { return garbage(300) }),
		beside("null", "null", nil, func() *source { return &source{} }),
		beside("503", "a proxy answers 503", status(http.StatusServiceUnavailable), refusedSpan),
		beside("403", "a proxy answers 403", status(http.StatusForbidden), refusedSpan),
		beside("dropped", "a proxy drops the connection", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, refusedSpan),
		beside("silent", "a proxy never answers", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, refusedSpan),
		{name: "wall", label: "600 records of 800 kB, 20 bad spans each; then good ones of 10, 100/s", target: "p99 ≤ 2 000 ms", phases: wall},
		{name: "flood", label: "at once, mixed: 50 000 of garbage, 60 with a tag of 65 000 bytes, 1 000 null, 20 of 1 MB, 5 000 good", target: "committed ≤ 60 s", phases: flood},
	}
}

// beside has 50 bad records a second beside 100 good ones.
func beside(name, label string, fault http.HandlerFunc, bad func() *source) scenario {
	return scenario{name: name, label: "50/s: " + label, target: "p99 ≤ 2 000 ms", fault: fault, phases: func() []phase {
		good, bad := &source{size: spansPerTrace}, bad()
		return []phase{{perSecond: 150, order: slices.Repeat([]*source{good, bad, good}, 50*besideFor)}}
	}}
}

// warmingUp is what is written, and taken by Jaeger, before a scenario, and does not count:
// Kafka and Jaeger have just been started, and take all of the machine for what they do
// first.
func warmingUp() []phase {
	good := &source{size: spansPerTrace, from: 1 << 40}
	return []phase{{perSecond: 200, order: slices.Repeat([]*source{good}, 200*warmUpFor)}}
}

// goingOn is what is written behind a scenario: as long as good records come, there
// is something to tell bad ones by.
func goingOn() []phase {
	good := &source{size: spansPerTrace, from: 1 << 41}
	return []phase{{perSecond: 100, order: slices.Repeat([]*source{good}, 200*int(settleFor.Seconds()))}}
}

// wall is 480 MB that Jaeger cannot take before the good records.
func wall() []phase {
	bad, good := &source{size: 20, bad: 20, tag: binaryTag(40_000)}, &source{size: 10}
	return []phase{{order: slices.Repeat([]*source{bad}, 600)}, {perSecond: 100, order: slices.Repeat([]*source{good}, 100*besideFor)}}
}

// flood is all kinds in one go.
func flood() []phase {
	all := phase{}
	for _, of := range []struct {
		n int
		*source
	}{
		{5_000, &source{size: spansPerTrace}},
		{50_000, garbage(300)},
		{60, &source{size: 1, bad: 1, tag: text("long", strings.Repeat("x", 65_000))}},
		{1_000, &source{}},
		{20, garbage(990_000)},
	} {
		all.order = append(all.order, slices.Repeat([]*source{of.source}, of.n)...)
	}
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(all.order), func(i, j int) { all.order[i], all.order[j] = all.order[j], all.order[i] })
	return []phase{all}
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

func binaryTag(size int) *thrift.Tag {
	return &thrift.Tag{Key: "long", VType: thrift.TagType_BINARY, VBinary: make([]byte, size)}
}

func garbage(size int) *source { return &source{value: []byte(strings.Repeat("x", size))} }

// source makes records of one kind, of the clients in turn.
type source struct {
	clients []int       // none: all that send good spans
	size    int         // spans in a record; 0: value is all of it
	bad     int         // so many of them, the first ones
	from    uint64      // number of the first span of each client: other sources have other spans
	tag     *thrift.Tag // of the bad ones
	value   []byte

	streams []*stream
	records int // so far
}

// good tells whether Jaeger takes the whole of a record.
func (s *source) good() bool { return s.size > 0 && s.bad == 0 }

// letters is how many a record makes.
func (s *source) letters() int {
	if s.size == 0 {
		return min(len(s.value), 1)
	}
	return s.bad
}

// next returns the next record, its client, and its first span if it has one.
func (s *source) next() (client int, value []byte, first spanID, err error) {
	turn := s.records
	s.records++
	if s.size == 0 {
		return turn % clients, s.value, first, nil
	}
	if s.streams == nil {
		if err := s.open(); err != nil {
			return 0, nil, first, err
		}
	}
	from := s.streams[turn%len(s.streams)]
	first = spanID{trace: int64(id(from.client, from.spans/spansPerTrace)), span: int64(id(from.client, from.spans))}
	return from.client, from.next(), first, nil
}

func (s *source) open() error {
	if s.clients == nil {
		for client := range clients {
			s.clients = append(s.clients, client)
		}
	}
	for _, client := range s.clients {
		stream, err := newStream(client, s.size, s.encode)
		if err != nil {
			return fmt.Errorf("make bad records: %w", err)
		}
		stream.spans = s.from
		if s.bad > 0 {
			stream.spans += 1 << 40
		}
		s.streams = append(s.streams, stream)
	}
	return nil
}

// encode implements format.
func (s *source) encode(process *thrift.Process, spans []*thrift.Span) ([]byte, error) {
	for _, span := range spans[:s.bad] {
		span.OperationName = poisoned
		if s.tag != nil {
			span.Tags = append(span.Tags, s.tag)
		}
	}
	return asThrift(process, spans)
}
