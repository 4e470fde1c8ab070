package dispatch

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
)

// flood is what stands beside the good records of TestGoodRecordsLeaveSoon.
type flood struct {
	name   string
	answer answer
	burst  int // bad records that are there first, on every partition
	rate   int // and how many come each second from then on
	pieces int // of each, one of them bad
	size   int
	alone  bool          // each is tried alone
	cost   time.Duration // of a bad one to the endpoint, which does two things at a time; 0: none, it does all at once
	outage time.Duration // at the beginning, in which every try draws away; delays count from its end
	away   answer
	ends   bool          // with the outage nothing more comes
	within time.Duration // the delay of 99 % of the good records, and a third of that of every one
}

// A good record leaves within a bound that does not depend on how many bad ones there
// are. 100 good ones come each second, on the same partitions.
func TestGoodRecordsLeaveSoon(t *testing.T) {
	const soon = 2 * time.Second
	for _, f := range []flood{
		{name: "nothing bad", within: 100 * time.Millisecond},
		{name: "few", rate: 5, within: soon},
		{name: "many", rate: 50, within: soon},
		{name: "a burst", burst: 1000, rate: 50, within: soon},
		{name: "a large burst", burst: 4000, rate: 50, within: soon},
		{name: "large", burst: 100, rate: 20, size: 65_000, within: soon},
		{name: "very large, of many pieces", burst: 20, rate: 2, size: 800_000, pieces: 20, within: soon},
		{name: "a wall of very large ones", burst: 600, size: 800_000, pieces: 20, cost: 40 * time.Millisecond, within: soon},
		{name: "of many pieces", burst: 300, rate: 30, pieces: 20, within: soon},
		{name: "bad requests", answer: conclusive, burst: 1000, rate: 50, within: soon},
		{name: "too large ones", answer: tooLarge, burst: 1000, rate: 50, pieces: 10, within: soon},
		{name: "cut connections", answer: cut, burst: 1000, rate: 50, within: soon},
		{name: "no answer", answer: hang, rate: 50, within: soon},
		{name: "a burst without an answer", answer: hang, burst: 30, rate: 10, within: soon},
		{name: "a few without an answer", answer: hang, rate: 2, within: soon},
		{name: "costly ones", rate: 50, cost: 10 * time.Millisecond, within: soon},
		{name: "costly ones of many pieces", rate: 50, cost: 10 * time.Millisecond, pieces: 9, within: soon},
		{name: "large, and an outage", outage: 15 * time.Second, away: hang, rate: 50, size: 65_000, cost: 10 * time.Millisecond, within: 45 * time.Second},
		{name: "large, and an outage with answers", outage: 15 * time.Second, rate: 50, size: 65_000, cost: 10 * time.Millisecond, within: 45 * time.Second},
		{name: "large, up to the end of an outage", outage: 15 * time.Second, away: hang, rate: 50, size: 65_000, ends: true, within: 60 * time.Second},
		{name: "large, up to the end of an outage with answers", outage: 15 * time.Second, rate: 50, size: 65_000, ends: true, within: 20 * time.Second},
		{name: "each alone", alone: true, burst: 1000, rate: 50, within: soon},
		{name: "of many pieces, each alone", alone: true, burst: 100, rate: 20, pieces: 20, within: soon},
		{name: "bad requests, each alone", alone: true, answer: conclusive, burst: 1000, rate: 50, within: soon},
		{name: "costly ones, each alone", alone: true, rate: 50, cost: 10 * time.Millisecond, within: soon},
		{name: "no answer, each alone", alone: true, answer: hang, rate: 50, within: soon},
	} {
		t.Run(f.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				delays := f.run(t)
				if len(delays) == 0 {
					t.Fatal("nothing was delivered")
				}
				slices.Sort(delays)
				most, p99 := delays[len(delays)-1], delays[len(delays)*99/100]
				t.Logf("%d good ones, p99 %v, at most %v", len(delays), p99.Round(time.Millisecond), most.Round(time.Millisecond))
				if p99 > f.within || most > 3*f.within {
					t.Errorf("p99 is %v, want at most %v; the longest %v, want at most %v", p99, f.within, most, 3*f.within)
				}
			})
		})
	}
}

func (f flood) maxRecords() int {
	if f.alone {
		return 1
	}
	return 0
}

// run returns the delays of the good records.
func (f flood) run(t *testing.T) []time.Duration {
	const (
		partitions = 3
		goodRate   = 100
		length     = 20 * time.Second
		tick       = 10 * time.Millisecond
	)
	var (
		mu     sync.Mutex
		topic  [partitions][]*kafka.Message
		delays []time.Duration
		value  = make([]byte, max(f.size, 100))
		isBad  = []byte{1}

		workers = make(chan int, 2)
	)
	workers <- 1
	workers <- 2
	began := time.Now()
	end := began.Add(length)
	d := New(Config{
		InFlight: 16, MaxRecords: f.maxRecords(), MaxPieces: 1000, MaxBytes: 512 << 10, Log: slog.New(slog.DiscardHandler),
		Read: func(r *Record) error {
			r.Pieces = 1
			if r.Key != nil {
				r.Pieces = max(f.pieces, 1)
			}
			return nil
		},
		Handle: func(ctx context.Context, parts []Part) error {
			refused := slices.ContainsFunc(parts, func(p Part) bool { return p.Key != nil && p.From == 0 })
			away := time.Since(began) < f.outage
			if refused && f.answer == hang || away && f.away == hang {
				select {
				case <-time.After(postTimeout):
				case <-ctx.Done():
				}
			}
			if time.Sleep(5 * time.Millisecond); f.cost > 0 {
				worker := <-workers
				defer func() { workers <- worker }()
				for _, p := range parts {
					if p.Key != nil {
						time.Sleep(f.cost * time.Duration(p.To-p.From) / time.Duration(max(f.pieces, 1)))
					}
				}
				time.Sleep(time.Millisecond)
			}
			switch {
			case away:
				return f.away.err()
			case refused:
				return f.answer.err()
			}
			mu.Lock()
			defer mu.Unlock()
			for _, p := range parts {
				if p.Key == nil && p.Timestamp.Before(end) {
					delays = append(delays, min(time.Since(p.Timestamp), time.Since(began.Add(f.outage))))
				}
			}
			return nil
		},
		SetAside: func(_ context.Context, p Part, _ error) error {
			time.Sleep(5 * time.Millisecond)
			if p.Key == nil || p.From != 0 {
				t.Error("a good one was set aside")
			}
			return nil
		},
		Fetch: func(_ context.Context, partition int32, offsets []int64) (map[int64]*kafka.Message, error) {
			time.Sleep(20 * time.Millisecond)
			mu.Lock()
			defer mu.Unlock()
			messages := map[int64]*kafka.Message{}
			for _, offset := range offsets {
				messages[offset] = message(topic[partition][offset])
			}
			return messages, nil
		},
	})
	ctx, stop := context.WithCancel(t.Context())
	idle := make(chan struct{})
	go func() { defer close(idle); d.Run(ctx, 0) }()
	defer func() { stop(); <-idle }()
	produce := func(partition int, bad bool) {
		m := &kafka.Message{Timestamp: time.Now(), Value: value[:100]}
		if bad {
			m.Key, m.Value = isBad, value
		}
		mu.Lock()
		defer mu.Unlock()
		m.TopicPartition = kafka.TopicPartition{Partition: int32(partition), Offset: kafka.Offset(len(topic[partition]))}
		topic[partition] = append(topic[partition], m)
	}
	var at [partitions]int
	ids := []int32{0, 1, 2}
	d.Assign(ids)
	for i := range f.burst {
		produce(i%partitions, true)
	}
	good, timely, bad := 0, 0, 0
	left := func() int {
		mu.Lock()
		defer mu.Unlock()
		return timely - len(delays)
	}
	for ; time.Now().Before(end) || left() > 0; time.Sleep(tick) {
		elapsed := time.Since(began)
		comes := elapsed
		if f.ends {
			comes = min(comes, f.outage)
		}
		if elapsed > length+3*f.within {
			t.Errorf("%d good ones of %d left after %v: %+v", left(), timely, elapsed, d.Status())
			break
		}
		for ; good <= int(comes.Seconds()*goodRate); good++ {
			produce(good%partitions, false)
			if time.Now().Before(end) {
				timely++
			}
		}
		for ; bad < int(comes.Seconds()*float64(f.rate)); bad++ {
			produce(bad%partitions, true)
		}
		for read := true; read && !d.Full(); {
			read = false
			for id := range partitions {
				if at[id] < len(topic[id]) && !d.Full() {
					d.Add(message(topic[id][at[id]]))
					at[id]++
					read = true
				}
			}
		}
	}
	mu.Lock()
	defer mu.Unlock()
	return delays
}

// An endpoint that refuses every other try, whatever is in it, costs little more than
// one that refuses none.
func TestHalfOfTheTriesFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const records = 20_000
		var mu sync.Mutex
		posts := 0
		d := New(Config{
			InFlight: 16, MaxPieces: 1000, MaxBytes: 512 << 10, Log: slog.New(slog.DiscardHandler),
			Read: func(r *Record) error { r.Pieces = 10; return nil },
			Handle: func(context.Context, []Part) error {
				time.Sleep(5 * time.Millisecond)
				mu.Lock()
				defer mu.Unlock()
				if posts++; posts%2 == 0 {
					return plain.err()
				}
				return nil
			},
			SetAside: func(context.Context, Part, error) error { t.Error("a good one was set aside"); return nil },
		})
		ctx, stop := context.WithCancel(t.Context())
		idle := make(chan struct{})
		go func() { defer close(idle); d.Run(ctx, 0) }()
		defer func() { stop(); <-idle }()
		d.Assign([]int32{0})
		began := time.Now()
		for i := range records {
			for !d.AwaitRoom(time.Second) {
				if time.Since(began) > time.Minute {
					t.Fatalf("no room: %+v", d.Status())
				}
			}
			d.Add(&kafka.Message{TopicPartition: kafka.TopicPartition{Offset: kafka.Offset(i)}, Value: make([]byte, 200)})
		}
		for d.Status().Counts.Done < records && time.Since(began) < time.Minute {
			time.Sleep(10 * time.Millisecond)
		}
		mu.Lock()
		defer mu.Unlock()
		if took := time.Since(began); took > 5*time.Second || posts > 10*records*10/1000 {
			t.Errorf("%d of %d records after %v and %d posts, want all within 5 s and 2 000 posts", d.Status().Counts.Done, records, took, posts)
		}
	})
}

// message returns a copy, as the dispatcher drops what is in it.
func message(m *kafka.Message) *kafka.Message {
	again := *m
	return &again
}
