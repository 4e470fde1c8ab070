package dispatch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"golang.org/x/time/rate"
)

// bench is a dispatcher with partition 0, and what it did.
type bench struct {
	*Dispatcher
	t    *testing.T
	stop context.CancelFunc
	idle chan struct{}

	mu       sync.Mutex
	tried    []string // "offset" or "offset[from-to]", + between what was tried together
	aside    []string
	finished []string // "offset: error"
	topic    map[int64]*kafka.Message
	next     int64
}

// newBench starts a dispatcher in the bubble of a test. What cfg leaves out takes
// everything at once.
func newBench(t *testing.T, cfg Config) *bench {
	b := &bench{t: t, idle: make(chan struct{}), topic: map[int64]*kafka.Message{}}
	if cfg.InFlight == 0 {
		cfg.InFlight = 1
	}
	cfg.Log = slog.New(slog.DiscardHandler)
	handle, setAside := cfg.Handle, cfg.SetAside
	cfg.Handle = func(ctx context.Context, parts []Part) error {
		b.mu.Lock()
		b.tried = append(b.tried, names(parts))
		b.mu.Unlock()
		if handle == nil {
			return nil
		}
		return handle(ctx, parts)
	}
	cfg.SetAside = func(ctx context.Context, p Part, reason error) error {
		if setAside != nil {
			if err := setAside(ctx, p, reason); err != nil {
				return err
			}
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		b.aside = append(b.aside, fmt.Sprintf("%s: %v", names([]Part{p}), reason))
		return nil
	}
	cfg.Finished = func(r *Record, err error) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.finished = append(b.finished, fmt.Sprintf("%d: %v", r.TopicPartition.Offset, err))
	}
	b.Dispatcher = New(cfg)
	b.Assign([]int32{0})
	ctx, stop := context.WithCancel(context.Background())
	b.stop = stop
	go func() { defer close(b.idle); b.Run(ctx, time.Second) }()
	t.Cleanup(func() { stop(); <-b.idle })
	return b
}

func names(parts []Part) string {
	var s []string
	for _, p := range parts {
		name := fmt.Sprint(int64(p.TopicPartition.Offset))
		if !p.Whole() {
			name += fmt.Sprintf("[%d-%d]", p.From, p.To)
		}
		s = append(s, name)
	}
	return strings.Join(s, "+")
}

// add adds records with these values to partition 0.
func (b *bench) add(values ...string) {
	for _, value := range values {
		m := &kafka.Message{TopicPartition: kafka.TopicPartition{Offset: kafka.Offset(b.next)}, Value: []byte(value), Timestamp: time.Now()}
		b.mu.Lock()
		b.topic[b.next] = message(m)
		b.mu.Unlock()
		b.next++
		b.Add(m)
	}
}

// want compares a list of what happened after some time.
func (b *bench) want(what string, got *[]string, want ...string) {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if !slices.Equal(*got, want) {
		b.t.Errorf("%s %q, want %q", what, *got, want)
	}
}

func (b *bench) committed() int64 {
	moved, _ := b.Moved()
	if next, ok := moved[0]; ok {
		return next
	}
	return -1
}

// refuse refuses records with this value.
func refuse(value string, err error) func(context.Context, []Part) error {
	return func(_ context.Context, parts []Part) error {
		if slices.ContainsFunc(parts, func(p Part) bool { return string(p.Value) == value }) {
			return err
		}
		return nil
	}
}

func TestWhatBecomesOfARecord(t *testing.T) {
	for _, tt := range []struct {
		name     string
		read     error
		handle   []error // answers to its tries, the last one from then on
		tries    int
		finished string
		aside    string
		counts   Counts
	}{
		{"delivered", nil, []error{nil}, 1, "0: <nil>", "", Counts{Done: 1}},
		{"tried until it is", nil, []error{errors.New("500"), errors.New("500"), nil}, 3, "0: <nil>", "", Counts{Done: 1, Retries: 2}},
		{"nothing to do, as reading says", ErrSkip, nil, 0, "0: nothing to do", "", Counts{Skipped: 1}},
		{"nothing to do, as the handler says", nil, []error{ErrSkip}, 1, "0: nothing to do", "", Counts{Skipped: 1}},
		{"never tried", Permanent(errors.New("garbage")), nil, 0, "0: garbage", "0: garbage", Counts{SetAside: 1}},
		{"set aside at once", nil, []error{Permanent(errors.New("never"))}, 1, "0: never", "0: never", Counts{SetAside: 1}},
		{"too large to be split", nil, []error{Split(errors.New("413"))}, 1, "0: 413", "0: 413", Counts{SetAside: 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var tries atomic.Int32
				b := newBench(t, Config{
					Read: func(*Record) error { return tt.read },
					Handle: func(context.Context, []Part) error {
						return tt.handle[min(int(tries.Add(1)), len(tt.handle))-1]
					},
				})
				b.add("a")
				time.Sleep(10 * time.Second)
				if got := tries.Load(); int(got) != tt.tries {
					t.Errorf("%d tries, want %d", got, tt.tries)
				}
				b.want("finished", &b.finished, tt.finished)
				if tt.aside != "" {
					b.want("set aside", &b.aside, tt.aside)
				}
				if got := b.Status().Counts; got != tt.counts {
					t.Errorf("counts %+v, want %+v", got, tt.counts)
				}
				if got := b.committed(); got != 1 {
					t.Errorf("%d is to be committed, want 1", got)
				}
			})
		})
	}
}

// Where others go through, the guilty one is found and set aside, and what is beside it
// in the same record is delivered.
func TestOnePieceIsGuilty(t *testing.T) {
	for _, tt := range []struct {
		name string
		err  error
	}{
		{"refused", errors.New("500")}, {"bad request", Conclusive(errors.New("400"))}, {"too large", Split(errors.New("413"))},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var delivered atomic.Int64
				b := newBench(t, Config{
					InFlight: 4, MaxPieces: 100, MaxBytes: 1 << 20,
					Read: func(r *Record) error { r.Pieces = len(r.Value); return nil },
					Handle: func(_ context.Context, parts []Part) error {
						for _, p := range parts {
							if strings.Contains(string(p.Value[p.From:p.To]), "x") {
								return tt.err
							}
						}
						for _, p := range parts {
							delivered.Add(int64(strings.Count(string(p.Value[p.From:p.To]), "b")))
						}
						return nil
					},
				})
				b.add("bbbbxbbbb")
				for range 100 {
					b.add("a")
					time.Sleep(100 * time.Millisecond)
				}
				b.want("set aside", &b.aside, "0[4-5]: "+tt.err.Error())
				if delivered.Load() != 8 {
					t.Errorf("%d of 8 good pieces delivered", delivered.Load())
				}
				if got := b.Status().Counts; got.Done != 101 || got.SetAside != 1 {
					t.Errorf("%+v, want 101 done", got)
				}
			})
		})
	}
}

// Where nothing else is there, good records that were tried with a bad one are delivered
// all the same.
func TestGoodRecordsWaitForNoOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, Config{
			MaxPieces: 100, MaxBytes: 1 << 20,
			Handle: refuse("x", errors.New("500")),
		})
		b.add("a", "b", "c", "x", "d")
		synctest.Wait()
		b.add("e") // it speaks against those before it
		time.Sleep(20 * time.Second)
		if s := b.Status(); s.Counts.Done != 5 || s.Suspects+s.InFlight != 1 {
			t.Errorf("%+v", s)
		}
	})
}

// A record that is refused alone is no evidence against itself.
func TestAnOutageSetsNothingAside(t *testing.T) {
	for _, err := range []error{errors.New("503"), Unreachable(errors.New("refused")), Conclusive(errors.New("400")), RetryAfter(errors.New("503"), time.Second)} {
		t.Run(err.Error(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var down atomic.Bool
				down.Store(true)
				over := make(chan Outage, 9)
				b := newBench(t, Config{
					InFlight: 4,
					Handle: func(context.Context, []Part) error {
						if down.Load() {
							return err
						}
						return nil
					},
					Recovered: func(o Outage) { over <- o },
				})
				b.add("a", "b", "c")
				time.Sleep(time.Hour)
				if s := b.Status(); s.State != Holding || s.Suspects == 0 || s.LastError != err.Error() {
					t.Errorf("%+v", s)
				}
				down.Store(false)
				time.Sleep(2 * time.Second)
				if s := b.Status(); s.State != Delivering || s.Counts.Done != 3 || s.Suspects != 0 {
					t.Errorf("%+v", s)
				}
				if o := <-over; len(over) != 0 || o.Attempts == 0 || o.Records != 3 || !slices.Equal(o.Errors, []string{err.Error()}) {
					t.Errorf("outage %+v, and %d more", o, len(over))
				}
			})
		})
	}
}

func TestTheEndIsEvidence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, Config{Handle: refuse("x", errors.New("500"))})
		b.add("x")
		time.Sleep(time.Minute)
		b.want("set aside", &b.aside)
		b.End()
		time.Sleep(time.Minute)
		b.want("set aside", &b.aside, "0: 500")
		if s := b.Status(); s.State != Delivering {
			t.Errorf("%+v", s)
		}
	})
}

// One try of a partition at a time, of all that wait: after an outage, too.
func TestOrderedRecordsGoOneTryAfterTheOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var down atomic.Bool
		down.Store(true)
		b := newBench(t, Config{
			InFlight: 9, Ordered: true, MaxPieces: 100, MaxBytes: 1 << 20,
			Handle: func(context.Context, []Part) error {
				if time.Sleep(time.Millisecond); down.Load() {
					return errors.New("503")
				}
				return nil
			},
		})
		b.add("a")
		synctest.Wait()
		b.add("b", "c")
		time.Sleep(10 * time.Second)
		down.Store(false)
		b.mu.Lock()
		b.tried = nil
		b.mu.Unlock()
		time.Sleep(10 * time.Second)
		b.want("tried", &b.tried, "0", "1+2")
	})
}

// What is refused together keeps its order, and nothing is held against those who are not to blame.
func TestOrderedRecordsThatAreRefusedTogether(t *testing.T) {
	for _, tt := range []struct {
		name  string
		err   error
		tried string
		aside []string
	}{
		{"for good: halves find the bad one", Permanent(errors.New("never")), "0 1+2+3+4 1+2 1 2 3+4 5", []string{"2: never"}},
		{"too much for one try: so do they", Split(errors.New("too large")), "0 1+2+3+4 1+2 1 2 3+4 5", []string{"2: too large"}},
		{"for now: the first one asks, and each goes alone", Conclusive(errors.New("400")), "0 1+2+3+4 1 2 2 3 4 5", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				refusals := 0
				b := newBench(t, Config{
					InFlight: 9, Ordered: true, MaxRecords: 4, MaxPieces: 100, MaxBytes: 1 << 20,
					Handle: func(_ context.Context, parts []Part) error {
						time.Sleep(time.Millisecond)
						bad := slices.ContainsFunc(parts, func(p Part) bool { return string(p.Value) == "x" })
						if bad && (IsPermanent(tt.err) || verdictOf(tt.err).split || refusals < 2) {
							refusals++
							return tt.err
						}
						return nil
					},
				})
				b.add("a")
				synctest.Wait()
				b.add("b", "x", "c", "d", "e")
				time.Sleep(time.Minute)
				b.want("tried", &b.tried, strings.Fields(tt.tried)...)
				b.want("set aside", &b.aside, tt.aside...)
				if s := b.Status(); s.State != Delivering || s.Counts.Done != uint64(6-len(tt.aside)) {
					t.Errorf("%+v", s)
				}
			})
		})
	}
}

// What was read of a partition that has another owner is not worked on any longer: what comes of it would be written behind
// what the other one writes.
func TestOrderedRecordsAreLeftToTheNextOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ended atomic.Bool
		b := newBench(t, Config{
			Ordered: true, MaxRecords: 9, MaxPieces: 9, MaxBytes: 1 << 20,
			Handle: func(ctx context.Context, _ []Part) error { <-ctx.Done(); ended.Store(true); return ctx.Err() },
		})
		b.add("a", "b")
		synctest.Wait()
		b.Drain([]int32{0}, time.Second)
		if ended.Load() {
			t.Error("it was cut before the time was up")
		}
		b.Forget([]int32{0})
		synctest.Wait()
		if !ended.Load() {
			t.Error("it goes on")
		}
	})
}

// Several that can never be done say nothing about the endpoint.
func TestOrderedGarbageIsNoRefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, Config{
			Ordered: true, MaxRecords: 9, MaxPieces: 9, MaxBytes: 1 << 20,
			Handle: func(context.Context, []Part) error { time.Sleep(time.Second); return Permanent(errors.New("never")) },
		})
		b.add("a", "b", "c", "d", "e", "f", "g", "h")
		for range 20 {
			if time.Sleep(500 * time.Millisecond); b.Status().State != Delivering {
				t.Fatalf("%+v", b.Status())
			}
		}
		if s := b.Status(); s.LastError != "" || s.Counts.Retries != 0 {
			t.Errorf("%+v", s)
		}
	})
}

// A letter is written in the background: what is behind it goes on.
func TestOrderedRecordsDoNotWaitForALetter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var away atomic.Bool
		away.Store(true)
		b := newBench(t, Config{
			Ordered: true, Handle: refuse("x", Permanent(errors.New("never"))),
			SetAside: func(context.Context, Part, error) error {
				if away.Load() {
					return errors.New("no topic")
				}
				return nil
			},
		})
		b.add("x", "a")
		time.Sleep(time.Minute)
		b.want("finished", &b.finished, "1: <nil>")
		s := b.Status()
		if s.DeadLetters != 1 || s.DeadLettersError == nil || s.DeadLettersError.Error != "no topic" {
			t.Errorf("%+v", s)
		}
		if got := b.committed(); got != 0 {
			t.Errorf("%d is to be committed before the letter is written, want 0", got)
		}
		away.Store(false)
		time.Sleep(maxPause * 2)
		if s := b.Status(); s.DeadLetters != 0 || s.DeadLettersError != nil {
			t.Errorf("%+v", s)
		}
		if got := b.committed(); got != 2 {
			t.Errorf("%d is to be committed, want 2", got)
		}
	})
}

func TestStop(t *testing.T) {
	for _, tt := range []struct {
		name string
		take time.Duration // of a try, if it is not cut short
		want int64         // committed
		wait time.Duration // until the stop is done
	}{
		{"waits for what is under way", 500 * time.Millisecond, 1, 500 * time.Millisecond},
		{"for as long as is allowed", time.Hour, 0, time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, Config{Handle: func(ctx context.Context, _ []Part) error {
					if !pause(ctx, tt.take) {
						return ctx.Err()
					}
					return nil
				}})
				b.add("a", "b")
				synctest.Wait()
				began := time.Now()
				b.stop()
				<-b.idle
				if took := time.Since(began); took != tt.wait {
					t.Errorf("took %v, want %v", took, tt.wait)
				}
				if got := b.committed(); got != tt.want {
					t.Errorf("%d is to be committed, want %d", got, tt.want)
				}
				b.add("c") // too late
				b.want("tried", &b.tried, "0")
				if s := b.Status(); s.State != Stopped || s.Counts.Retries != 0 || s.Partitions[0].Unfinished != 2-int(tt.want) {
					t.Errorf("%+v", s)
				}
			})
		})
	}
}

// Also those that began before Run.
func TestStopEndsLetters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := New(Config{
			InFlight: 1, Log: slog.New(slog.DiscardHandler),
			Read:     func(*Record) error { return Permanent(errors.New("garbage")) },
			SetAside: func(context.Context, Part, error) error { return errors.New("no topic") },
		})
		d.Assign([]int32{0})
		d.Add(&kafka.Message{Value: []byte("x")})
		ctx, stop := context.WithCancel(t.Context())
		stop()
		began := time.Now()
		d.Run(ctx, time.Second)
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("took %v", took)
		}
		if moved, _ := d.Moved(); moved[0] != 0 {
			t.Errorf("%v is to be committed", moved)
		}
	})
}

// What a stop leaves parked is left to the next owner, not handed on without its value.
func TestStopWhileFetching(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var away atomic.Bool
		away.Store(true)
		b := newBench(t, Config{
			Read: func(*Record) error { return Permanent(errors.New("garbage")) },
			SetAside: func(_ context.Context, p Part, _ error) error {
				if away.Load() && string(p.Value) == "first" {
					return errors.New("no topic")
				}
				if p.Value == nil {
					t.Error("a letter without its value")
				}
				return nil
			},
			Fetch: func(ctx context.Context, _ int32, _ []int64) (map[int64]*kafka.Message, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			},
		})
		b.Dispatcher.mu.Lock()
		b.buffers[dead].max = 1
		b.Dispatcher.mu.Unlock()
		b.add("first", "second")
		synctest.Wait()
		if s := b.Status(); s.Parked != 1 || s.DeadLetters != 2 {
			t.Fatalf("%+v", s)
		}
		away.Store(false)
		time.Sleep(maxPause) // the second one is being fetched
		b.stop()
		<-b.idle
		b.want("set aside", &b.aside, "0: garbage")
	})
}

func TestRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		blocked := make(chan struct{})
		b := newBench(t, Config{Handle: func(context.Context, []Part) error { <-blocked; return nil }})
		b.Dispatcher.mu.Lock()
		b.buffers[fresh].max = 10 * (overhead + 1)
		b.Dispatcher.mu.Unlock()
		for range 9 {
			b.add("a")
		}
		if b.Full() || b.Room() {
			t.Errorf("full %v, room %v with nine tenths", b.Full(), b.Room())
		}
		if b.add("a"); !b.Full() {
			t.Error("not full")
		}
		began := time.Now()
		if b.AwaitRoom(time.Second) || time.Since(began) != time.Second {
			t.Errorf("there is room after %v", time.Since(began))
		}
		time.AfterFunc(time.Second, func() { close(blocked) })
		if !b.AwaitRoom(time.Minute) || time.Since(began) > 3*time.Second {
			t.Errorf("no room after %v", time.Since(began))
		}
	})
}

// While the breaker is open one record is probed at a time, and a good one that is not read yet
// may be the one that closes it.
func TestWhatWasRefusedTogetherStopsNoReadingWhileTheBreakerIsOpen(t *testing.T) {
	d := New(Config{})
	d.buffers[mixed].parked = make([]*attempt, maxParkedMixed)
	if !d.Full() {
		t.Error("not full")
	}
	d.breaker.open = true
	if d.Full() || !d.Room() {
		t.Errorf("full %v, room %v", d.Full(), d.Room())
	}
}

func TestLimitOfPieces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, Config{
			InFlight: 16, Limit: rate.NewLimiter(100, 10), MaxPieces: 50, MaxBytes: 1 << 20,
			Read: func(r *Record) error { r.Pieces = 20; return nil },
		})
		for range 50 {
			b.add("a")
		}
		began := time.Now()
		for b.Status().Counts.Done < 50 && time.Since(began) < time.Minute {
			time.Sleep(10 * time.Millisecond)
		}
		if took := time.Since(began); took < 9*time.Second || took > 11*time.Second {
			t.Errorf("1 000 pieces took %v at 100 a second", took)
		}
	})
}

// It is honoured by all while nothing goes through, and by the one record otherwise.
func TestRetryAfter(t *testing.T) {
	for _, others := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			var tries atomic.Int32
			b := newBench(t, Config{InFlight: 4, Handle: func(_ context.Context, parts []Part) error {
				if string(parts[0].Value) == "a" {
					return nil
				}
				tries.Add(1)
				return RetryAfter(errors.New("503"), 3*time.Second)
			}})
			b.add("x")
			for range 100 {
				if others {
					b.add("a")
				}
				time.Sleep(100 * time.Millisecond)
			}
			if n := tries.Load(); n < 3 || n > 5 {
				t.Errorf("others go through: %v: %d tries in 10 s, want one every 3 s", others, n)
			}
		})
	}
}

func TestOneConclusiveRefusalIsEnough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, Config{InFlight: 4, Handle: refuse("x", Conclusive(errors.New("400")))})
		b.add("x")
		synctest.Wait()
		b.add("a")
		time.Sleep(time.Second)
		b.want("tried", &b.tried, "0", "1", "0")
		b.want("set aside", &b.aside, "0: 400")
	})
}

// Where every other try is refused, whatever is in it, no record is guilty.
func TestBadLuckIsNoGuilt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const records = 3000
		b := newBench(t, Config{InFlight: 16, Handle: func(context.Context, []Part) error {
			if time.Sleep(time.Millisecond); rand.IntN(2) == 0 {
				return errors.New("500")
			}
			return nil
		}})
		for range records {
			b.add("a")
			time.Sleep(5 * time.Millisecond)
		}
		time.Sleep(time.Minute)
		s := b.Status()
		if s.Counts.Done+s.Counts.SetAside+uint64(s.Waiting) != records || s.Waiting > 1 || s.Counts.SetAside > 3 { // of those before it knows
			t.Errorf("%+v", s)
		}
	})
}

// After an outage there is one try at first, and what was refused only because of the
// outage is tried together again.
func TestRecoveryBeginsSlowlyAndTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var down atomic.Bool
		down.Store(true)
		var now, most atomic.Int32
		b := newBench(t, Config{
			InFlight: 16, MaxPieces: 10, MaxBytes: 1 << 20,
			Handle: func(context.Context, []Part) error {
				n := now.Add(1)
				defer now.Add(-1)
				if !down.Load() {
					most.Store(max(most.Load(), n))
				}
				if time.Sleep(10 * time.Millisecond); down.Load() {
					return errors.New("503")
				}
				return nil
			},
		})
		for range 40 {
			b.add("a")
			time.Sleep(20 * time.Millisecond)
		}
		time.Sleep(time.Minute)
		b.mu.Lock()
		b.tried = nil
		b.mu.Unlock()
		down.Store(false)
		for b.Status().State == Holding {
			time.Sleep(time.Millisecond)
		}
		time.Sleep(5 * time.Millisecond)
		if n := most.Load(); n > 2*slowStart { // of each stage
			t.Errorf("%d tries at once at first", n)
		}
		time.Sleep(10 * time.Second)
		b.mu.Lock()
		defer b.mu.Unlock()
		if s := b.Status(); s.Counts.Done != 40 || len(b.tried) > 20 {
			t.Errorf("%d records in %d posts: %q", s.Counts.Done, len(b.tried), b.tried)
		}
	})
}

// Under a limit neither keeps the other from its tries.
func TestSuspectsTakeTurnsWithTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, Config{InFlight: 16, Limit: rate.NewLimiter(10, 1), Handle: refuse("x", errors.New("500"))})
		b.add("x", "x", "x", "x", "x", "x", "x", "x", "x", "x")
		for range 600 {
			b.add("a")
		}
		time.Sleep(30 * time.Second)
		if s := b.Status(); s.Counts.Done < 100 || s.Counts.Retries < 80 {
			t.Errorf("%d others and %d suspects tried of 300: %+v", s.Counts.Done, s.Counts.Retries, s)
		}
	})
}

// What is bad takes little of an endpoint that the others keep busy.
func TestSuspectsRestWhileOthersWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const took, length = 50 * time.Millisecond, 10 * time.Second
		b := newBench(t, Config{InFlight: 4, MaxRecords: 1, Handle: func(_ context.Context, parts []Part) error {
			time.Sleep(took)
			if string(parts[0].Value) == "x" {
				return errors.New("500")
			}
			return nil
		}})
		for range 100 {
			b.add(strings.Split(strings.Repeat("a", 19)+"x", "")...)
		}
		time.Sleep(length)
		b.mu.Lock()
		defer b.mu.Unlock()
		tries := map[string]int{}
		suspects := 0
		for _, name := range b.tried {
			if tries[name]++; tries[name] > 1 {
				suspects++
			}
		}
		if most := int(length / took / (1 + suspectRest)); suspects > most || suspects < most*2/3 || len(tries) < 700 {
			t.Errorf("%d first tries, and %d of suspects; want at least 700, and %d to %d", len(tries), suspects, most*2/3, most)
		}
	})
}

// A large record is read again once for each of its turns, not once for each of its pieces and tries.
func TestPiecesOfARecordAreReadAgainTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const large, pieces = 6, 8
		var b *bench
		reads := 0
		b = newBench(t, Config{
			InFlight: 16,
			Read: func(r *Record) error {
				if len(r.Value) > 1 {
					r.Pieces = pieces
				}
				return nil
			},
			Handle: func(_ context.Context, parts []Part) error {
				if time.Sleep(time.Millisecond); parts[0].Pieces > 1 {
					return errors.New("500")
				}
				return nil
			},
			Fetch: func(_ context.Context, _ int32, offsets []int64) (map[int64]*kafka.Message, error) {
				b.mu.Lock()
				defer b.mu.Unlock()
				messages := map[int64]*kafka.Message{}
				for _, offset := range offsets {
					messages[offset] = message(b.topic[offset])
					reads++
				}
				return messages, nil
			},
		})
		for range large {
			b.add(strings.Repeat("x", suspectBytes*2/3))
		}
		setAside := func() int {
			b.mu.Lock()
			defer b.mu.Unlock()
			return len(b.aside)
		}
		for range 3000 {
			b.add("a")
			time.Sleep(10 * time.Millisecond)
		}
		if n := setAside(); n != large*pieces || reads > 3*large {
			t.Errorf("%d pieces set aside, %d reads; want %d, and at most %d", n, reads, large*pieces, 3*large)
		}
	})
}

func TestHalves(t *testing.T) {
	a, b, c := &Record{Pieces: 1}, &Record{Pieces: 5}, &Record{}
	for _, tt := range []struct {
		name          string
		parts         []Part
		first, second []Part
	}{
		{"between records", []Part{{a, 0, 1}, {b, 0, 5}, {c, 0, 1}}, []Part{{a, 0, 1}}, []Part{{b, 0, 5}, {c, 0, 1}}},
		{"of a record", []Part{{b, 0, 5}}, []Part{{b, 0, 2}}, []Part{{b, 2, 5}}},
		{"of a part", []Part{{b, 3, 5}}, []Part{{b, 3, 4}}, []Part{{b, 4, 5}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			first, second := (&attempt{parts: tt.parts}).halves()
			if !slices.Equal(first.parts, tt.first) || !slices.Equal(second.parts, tt.second) {
				t.Errorf("got %v and %v", first.parts, second.parts)
			}
		})
	}
}

func TestCredible(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, tt := range []struct {
		name string
		at   time.Time
		want bool
	}{
		{"now", now, true},
		{"a year ago", now.AddDate(-1, 0, 0), true},
		{"a clock that is a little ahead", now.Add(time.Minute), true},
		{"a clock that is years ahead", now.AddDate(74, 0, 0), false},
		{"zero", time.UnixMilli(0), false},
		{"microseconds", time.UnixMilli(now.UnixMicro()), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := credible(tt.at, now); got.IsZero() == tt.want {
				t.Errorf("%v becomes %v", tt.at, got)
			}
		})
	}
}
