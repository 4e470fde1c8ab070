package dispatch

import (
	"bufio"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/time/rate"
)

// defaultSeeds are simulated by go test; make simulate says others.
const defaultSeeds = 2000

// TestSimulation has the dispatcher carry records through faults of every kind, one
// schedule for each seed, and checks its promises at every step. SEEDS says how many,
// FROM the first one. Seeds that failed once are kept in testdata/seeds.
func TestSimulation(t *testing.T) {
	seeds, from := setting(t, "SEEDS", defaultSeeds), setting(t, "FROM", 1)
	if _, chosen := os.LookupEnv("SEEDS"); !chosen {
		for _, seed := range kept(t) {
			for range 5 { // what goroutines do first is not told by the seed
				simulate(t, seed)
			}
		}
	}
	var next atomic.Uint64
	next.Store(from)
	var ended atomic.Uint64
	began := time.Now()
	t.Run("seeds", func(t *testing.T) {
		for i := range runtime.GOMAXPROCS(0) {
			t.Run(strconv.Itoa(i), func(t *testing.T) {
				t.Parallel()
				for seed := next.Add(1) - 1; seed < from+seeds && !t.Failed(); seed = next.Add(1) - 1 {
					simulate(t, seed)
					if n := ended.Add(1); n%10_000 == 0 {
						fmt.Printf("%d of %d seeds, %.0f/s\n", n, seeds, float64(n)/time.Since(began).Seconds())
					}
				}
			})
		}
	})
	pieces, wrong := goodPieces.Load(), unlucky.Load()
	t.Logf("%d seeds in %v; %d of %d good pieces set aside by bad luck", ended.Load(), time.Since(began).Round(time.Millisecond), wrong, pieces)
	if wrong*1000 > pieces {
		t.Errorf("%d of %d good pieces were set aside while every other try failed", wrong, pieces)
	}
}

// Of the worlds that are not fair.
var goodPieces, unlucky atomic.Uint64

func setting(t *testing.T, name string, otherwise uint64) uint64 {
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

func kept(t *testing.T) (seeds []uint64) {
	f, err := os.Open(filepath.Join("testdata", "seeds"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		text, _, _ := strings.Cut(lines.Text(), "#")
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		seed, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		seeds = append(seeds, seed)
	}
	return seeds
}

// simulate runs one schedule.
func simulate(t *testing.T, seed uint64) {
	t.Helper()
	var w *world
	defer func() {
		if failure := recover(); failure != nil { // a deadlock
			w.violate("%v", failure)
		}
		if w == nil || len(w.violations) > 0 {
			t.Errorf("seed %d: %s", seed, strings.Join(w.violations[:min(len(w.violations), 5)], "\n"))
		}
	}()
	synctest.Test(t, func(*testing.T) {
		w = newWorld(seed)
		if os.Getenv("TRACE") != "" {
			var mu sync.Mutex
			began := time.Now()
			w.trace = func(format string, args ...any) {
				mu.Lock()
				defer mu.Unlock()
				fmt.Printf("%8.3f "+format+"\n", append([]any{time.Since(began).Seconds()}, args...)...)
			}
			w.trace("plan %+v", w.plan)
		}
		w.run()
	})
}

// plan is what a seed stands for, but for what happens by and by.
type plan struct {
	config  Config
	buffers [stages]int
	putOff  int  // records above it may be
	refetch bool // values can be read again
	fair    bool // no good piece may be set aside: its refusals are too few
	ending  bool // the end is told, no more good records come

	schedule *rand.Rand
	steps    int
	badShare int // of 100
	conds    []condition
	large    int // how large values are
	quiet    int // partition without bad records; -1: none
	answers  []answer
	hanging  int // records
}

func newWorld(seed uint64) *world {
	rng := rand.New(rand.NewPCG(seed, 0))
	chance := func(percent int) bool { return rng.IntN(100) < percent }
	w := &world{rng: rand.New(rand.NewPCG(seed, 1)), changed: make(chan struct{})}
	w.plan = plan{
		schedule: rng, steps: 5 + rng.IntN(30), badShare: []int{0, 5, 30, 80}[rng.IntN(4)], refetch: chance(90),
		fair: chance(85), large: []int{20, 300, 3000}[rng.IntN(3)], quiet: -1, ending: chance(10),
	}
	w.config = Config{
		InFlight: 1 + rng.IntN(8), Ordered: chance(25), MaxPieces: 1 + rng.IntN(60), MaxBytes: 10_000 + rng.IntN(10_000),
		Log: slog.New(slog.DiscardHandler),
	}
	if chance(25) {
		w.config.MaxRecords = 1 + rng.IntN(3)
	}
	if chance(20) {
		w.config.Slow = time.Second
	}
	if chance(10) {
		w.config.Limit = rate.NewLimiter(rate.Limit(20+rng.IntN(200)), 1+rng.IntN(50))
	}
	w.buffers = [stages]int{freshBytes, mixedBytes, suspectBytes, deadBytes}
	if w.refetch {
		w.buffers = [stages]int{1000 + rng.IntN(30_000), 1000 + rng.IntN(20_000), 1000 + rng.IntN(20_000), 1000 + rng.IntN(20_000)}
	}
	heavies := rand.New(rand.NewPCG(seed, 2))
	w.putOff, w.buffers[heavy] = []int{0, overhead + 150, largeBytes}[heavies.IntN(3)], heavyBytes
	if w.refetch {
		w.buffers[heavy] = 1000 + heavies.IntN(20_000)
	}
	if w.config.Ordered {
		w.quiet = 0
		w.buffers[fresh] = freshBytes
	}
	// Each answered outage adds one refusal to what speaks against a good record.
	w.conds = []condition{unreachable}
	if w.fair {
		w.conds = append(w.conds, []condition{refusing, overloaded, frozen}[:rng.IntN(4)]...)
	} else {
		w.conds = append(w.conds, refusing, overloaded, halfUp, halfUp, halfUp, frozen)
	}
	w.answers = []answer{plain, conclusive, tooLarge, cut, partial}
	if chance(20) {
		w.answers = append(w.answers, hang)
	}
	for range 1 + rng.IntN(4) {
		w.grow()
	}
	return w
}

// grow adds a partition.
func (w *world) grow() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.topic = append(w.topic, &log{committed: -1})
}

// produce appends a record with a fate.
func (w *world) produce(id int32, keeper bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	l, rng := w.topic[id], w.schedule
	if rng.IntN(20) == 0 {
		l.records = append(l.records, nil)
	}
	rec := &record{partition: id, offset: l.end(), generation: l.generation, at: time.Now(), pieces: 1, keeper: keeper}
	if rng.IntN(3) == 0 && !w.config.Ordered {
		rec.pieces = 1 + rng.IntN(20)
	}
	size := 8 + rng.IntN(w.large)
	if keeper {
		size = 8
	}
	rec.value = make([]byte, size)
	copy(rec.value, fmt.Sprintf("%8x", len(w.records)))
	switch bad := int(id) != w.quiet && rng.IntN(100) < w.badShare; {
	case keeper:
	case bad:
		w.spoil(rec)
	default:
		rec.answer = w.answers[rng.IntN(len(w.answers))]
		switch rng.IntN(10) {
		case 0:
			rec.slow = time.Duration(rng.IntN(9000)) * time.Millisecond
		case 1:
			if rec.answer = []answer{plain, cut}[rng.IntN(2)]; !w.config.Ordered || int(id) != w.quiet {
				rec.refusals = rng.IntN(3)
			}
		case 2:
			rec.lost = rng.IntN(3)
		}
	}
	l.records = append(l.records, rec)
	w.records = append(w.records, rec)
}

// spoil makes a record a bad one.
func (w *world) spoil(rec *record) {
	rng := w.schedule
	switch rng.IntN(8) {
	case 0:
		rec.garbage = true
	case 1:
		rec.null, rec.value = true, nil
	default:
		rec.answer = w.answers[rng.IntN(len(w.answers))]
		some, few := pieces(rng.Uint32()), pieces(rng.Uint32())
		rec.bad = some & few & rec.all()
		if rec.bad == 0 || rng.IntN(4) == 0 {
			rec.bad = rec.all()
		}
		if rec.answer == hang { // each costs many timeouts
			if rec.bad &= -rec.bad; w.hanging >= 4 {
				rec.answer = cut
			}
			w.hanging++
		}
	}
}

// run lets things happen, then ends all trouble, and waits until all is done.
func (w *world) run() {
	defer func() {
		for _, m := range slices.Clone(w.members) {
			m.leave(true)
		}
	}()
	for range 1 + w.schedule.IntN(2) {
		w.join()
	}
	w.rebalance()
	for range w.steps {
		if w.step(); len(w.violations) > 0 {
			return
		}
	}
	w.settle()
}

func (w *world) step() {
	rng := w.schedule
	for range rng.IntN(4) {
		w.produce(int32(rng.IntN(len(w.topic))), false)
	}
	switch rng.IntN(24) {
	case 0, 1, 2, 3, 4:
		c := up
		if w.endpoint == up && len(w.conds) > 0 {
			i := rng.IntN(len(w.conds))
			if c = w.conds[i]; w.fair && c != unreachable {
				w.conds = append(w.conds[:i:i], w.conds[i+1:]...)
			}
		}
		w.become(c)
	case 5, 6:
		w.rebalance()
	case 7:
		m := w.members[rng.IntN(len(w.members))]
		left := m.leave(rng.IntN(2) == 0)
		m = w.join()
		for _, id := range left {
			m.assign(id)
		}
	case 8:
		if len(w.topic) < 6 {
			w.grow()
			w.members[rng.IntN(len(w.members))].assign(int32(len(w.topic) - 1))
		}
	case 9:
		w.anew(int32(rng.IntN(len(w.topic))))
	case 10:
		w.expire(int32(rng.IntN(len(w.topic))))
	case 11, 12, 13:
		w.mu.Lock()
		w.letters = trouble(rng.IntN(int(troubles)))
		w.mu.Unlock()
	case 14, 15:
		w.mu.Lock()
		w.fetches = trouble(rng.IntN(int(slow) + 1))
		w.mu.Unlock()
	}
	w.pass(time.Duration(1+rng.IntN(30)) * time.Duration(1+rng.IntN(30)) * time.Millisecond)
	if rng.IntN(10) == 0 {
		w.pass(time.Duration(rng.IntN(15)) * time.Second)
	}
}

// pass lets time pass, reads and commits.
func (w *world) pass(d time.Duration) {
	time.Sleep(d)
	for _, m := range w.members {
		m.commit()
		m.poll(1 + w.schedule.IntN(10))
	}
	w.check()
}

// rebalance gives partitions to other members.
func (w *world) rebalance() {
	rng := w.schedule
	for id := range int32(len(w.topic)) {
		owner := w.owner(id)
		if owner != nil && rng.IntN(2) == 0 {
			continue
		}
		if owner != nil {
			owner.revoke([]int32{id}, rng.IntN(3) == 0)
		}
		w.members[rng.IntN(len(w.members))].assign(id)
	}
}

func (w *world) owner(id int32) *member {
	for _, m := range w.members {
		if _, ok := m.position[id]; ok {
			return m
		}
	}
	return nil
}

// anew deletes a partition with all that is there, and makes it again.
func (w *world) anew(id int32) {
	w.mu.Lock()
	defer w.mu.Unlock()
	l := w.topic[id]
	for _, rec := range l.records {
		if rec != nil {
			rec.gone = true
		}
	}
	l.generation++
	l.low, l.records = 0, nil
}

// expire deletes the oldest records of a partition.
func (w *world) expire(id int32) {
	w.mu.Lock()
	defer w.mu.Unlock()
	l := w.topic[id]
	if len(l.records) == 0 {
		return
	}
	low := max(l.low, w.schedule.Int64N(l.end()))
	for _, rec := range l.records[:low] {
		if rec != nil {
			rec.gone = true
		}
	}
	l.low = low
}

// settle ends all trouble and checks that everything ends well: at first without
// other records, which good ones need not wait for, then with some.
func (w *world) settle() {
	w.become(up)
	w.mu.Lock()
	w.letters, w.fetches = fine, fine
	w.mu.Unlock()
	m := w.members[0]
	for id := range int32(len(w.topic)) {
		if owner := w.owner(id); owner != m {
			owner.revoke([]int32{id}, false)
			m.assign(id)
		}
	}
	began := time.Now()
	for w.refetch && !w.config.Ordered && !(w.read(m) && w.goodDelivered()) {
		if w.pass(500 * time.Millisecond); time.Since(began) > 15*time.Minute {
			w.violate("good pieces wait for other records: %+v", m.d.Status())
		}
		if len(w.violations) > 0 {
			return
		}
	}
	began = time.Now()
	for told := false; ; {
		switch age := time.Since(began); {
		case age < 5*time.Second:
			w.pass(100 * time.Millisecond)
		case age < 20*time.Second:
			w.pass(500 * time.Millisecond)
		default:
			w.pass(3 * time.Second)
		}
		switch done := w.done(m); {
		case len(w.violations) > 0:
			return
		case done && w.read(m) && m.settled() && m.d.Status().State == Delivering:
			w.checkEnd(m)
			return
		case time.Since(began) > 20*time.Minute:
			w.violate("not done: %+v", m.d.Status())
			w.checkEnd(m)
			return
		case w.ending:
			if !told && w.read(m) {
				m.d.End()
				told = true
			}
		case !done:
			w.produce(int32(w.schedule.IntN(len(w.topic))), true)
		}
	}
}

// read tells whether everything was.
func (w *world) read(m *member) bool {
	for id, l := range w.topic {
		if at := m.position[int32(id)]; at.generation != l.generation || at.next < l.end() {
			return false
		}
	}
	return true
}

// goodDelivered tells whether every good piece has become something.
func (w *world) goodDelivered() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !slices.ContainsFunc(w.records, func(rec *record) bool {
		return !rec.gone && !rec.garbage && !rec.null && rec.bad|rec.delivered|rec.aside != rec.all()
	})
}

// done tells whether every record has become something.
func (w *world) done(m *member) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, rec := range w.records {
		if !rec.gone && !rec.keeper && !rec.done() {
			return false
		}
	}
	for _, r := range m.live { // those of a topic that was deleted since as well
		if !m.known[r].keeper && r.mark != nil && !m.told[r] {
			return false
		}
	}
	return true
}

// settled tells whether nothing is left to do.
func (m *member) settled() bool {
	m.d.mu.Lock()
	defer m.d.mu.Unlock()
	return m.d.unfinished() == 0 && len(m.d.running) == 0
}
