package consume

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
)

// model drives a window with its workers by chance, and knows what must hold
// whatever happens.
type model struct {
	*testing.T
	w   *window
	c   *Consumer
	cfg Config

	drive *rand.Rand // of the test's own goroutine

	mu    sync.Mutex
	rand  *rand.Rand            // of the handler
	bad   []string              // what may be wrong with a record
	mode  string                // what the endpoint answers
	calls int                   // under way
	busy  map[*Record]bool      // in the handler
	owned map[int32]*assignment // by partition
	fates map[*partition]map[int64]string
	done  map[*partition]map[int64]bool
}

// assignment is a partition from when it was assigned until it is revoked.
type assignment struct {
	p           *partition
	first, next int64 // offsets that were added
}

func newModel(t *testing.T, seed uint64) *model {
	m := &model{
		T: t, drive: rand.New(rand.NewPCG(seed, 5)), rand: rand.New(rand.NewPCG(seed, 6)), mode: "up", bad: []string{"empty", "malformed", "poison"},
		busy: map[*Record]bool{}, owned: map[int32]*assignment{},
		fates: map[*partition]map[int64]string{}, done: map[*partition]map[int64]bool{},
	}
	m.cfg = Config{InFlight: 1 + m.drive.IntN(8), Log: slog.New(slog.DiscardHandler), Handle: m.handle, SetAside: m.setAside}
	if seed%2 == 0 {
		m.cfg.Slow = time.Second
	}
	if seed%3 == 0 {
		m.cfg.Ordered = true
		m.bad = m.bad[:2] // told by what is behind them: not in order
	} else {
		m.cfg.Together = &Together{
			Key: func(r *Record) (uint64, int) {
				return uint64(r.TopicPartition.Offset % 4), 1 + int(r.TopicPartition.Offset%7)
			},
			Weight: 30, Bytes: 60, Handle: m.handleTogether,
		}
	}
	m.w = newWindow(m.cfg)
	m.c = &Consumer{cfg: m.cfg, log: m.cfg.Log, window: m.w}
	return m
}

// begin checks what must hold when records are tried, and lets that take a while.
func (m *model) begin(records []*Record) (mode string) {
	m.w.mu.Lock()
	for _, r := range records {
		if m.w.state == Holding && m.w.since.Before(time.Now()) && !r.probe {
			m.Errorf("offset %d is tried beside the probe", offset(r))
		}
		if m.cfg.Ordered && r.partition.inFlight != 1 {
			m.Errorf("%d of an ordered partition at once", r.partition.inFlight)
		}
	}
	if m.w.tries > m.cfg.InFlight || m.w.allowed < 1 || m.w.allowed > m.cfg.InFlight {
		m.Errorf("%d tries at once", m.w.tries)
	}
	m.w.mu.Unlock()

	m.mu.Lock()
	defer m.mu.Unlock()
	weight, bytes := 0, 0
	for _, r := range records {
		if m.busy[r] || m.done[r.partition][int64(offset(r))] {
			m.Errorf("offset %d is tried twice", offset(r))
		}
		m.busy[r] = true
		weight, bytes = weight+r.weight, bytes+r.slot.bytes
	}
	if len(records) > 1 && (weight > m.cfg.Together.Weight || bytes > m.cfg.Together.Bytes) {
		m.Errorf("%d records of weight %d with %d bytes together", len(records), weight, bytes)
	}
	if m.calls++; m.calls > m.cfg.InFlight {
		m.Errorf("%d calls at once", m.calls)
	}
	took := time.Duration(m.rand.IntN(30)) * time.Millisecond
	if m.rand.IntN(20) == 0 {
		took = time.Duration(m.rand.IntN(3000)) * time.Millisecond
	}
	mode = m.mode
	m.mu.Unlock()
	time.Sleep(took)
	m.mu.Lock()
	return mode
}

func (m *model) end(records []*Record, err error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls--
	for _, r := range records {
		delete(m.busy, r)
		if err == nil || errors.Is(err, ErrSkip) {
			m.done[r.partition][int64(offset(r))] = true
		}
	}
	return err
}

func answer(mode string) error {
	switch mode {
	case "away":
		return errAway
	case "busy":
		return RetryAfter(errAway, 2*time.Second)
	case "refuses":
		return Suspect(errAway)
	}
	return nil
}

func (m *model) fate(r *Record) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.fates[r.partition][int64(offset(r))]
}

func (m *model) handle(_ context.Context, r *Record) error {
	mode, fate := m.begin([]*Record{r}), m.fate(r)
	err := answer(mode)
	switch {
	case fate == "empty":
		err = ErrSkip
	case fate == "malformed":
		err = Permanent(errors.New("malformed"))
	case fate == "poison" && err == nil && r.Isolated < 3:
		err = Suspect(errors.New("poison"))
	case fate == "poison" && err == nil:
		err = Permanent(errors.New("poison"))
	}
	return m.end([]*Record{r}, err)
}

func (m *model) handleTogether(_ context.Context, records []*Record) error {
	err := answer(m.begin(records))
	for _, r := range records {
		if fate := m.fate(r); err == nil && fate == "poison" {
			err = Suspect(errors.New("one of them is poison"))
		} else if err == nil && fate != "" {
			err = ErrApart
		}
	}
	return m.end(records, err)
}

func (m *model) setAside(_ context.Context, r *Record, _ error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if fate := m.fates[r.partition][int64(offset(r))]; fate != "malformed" && fate != "poison" {
		m.Errorf("offset %d is good and was set aside", offset(r))
	}
	if m.rand.IntN(3) == 0 {
		return errors.New("the dead-letter topic is away")
	}
	m.done[r.partition][int64(offset(r))] = true
	return nil
}

func (m *model) assign(id int32) {
	m.w.assign([]int32{id})
	a := &assignment{p: m.w.partitions[id], first: int64(m.drive.IntN(1000))}
	a.next = a.first
	m.mu.Lock()
	defer m.mu.Unlock()
	m.owned[id] = a
	m.fates[a.p], m.done[a.p] = map[int64]string{}, map[int64]bool{}
}

func (m *model) revoke(id int32) {
	m.check()
	m.w.forget([]int32{id})
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.owned, id)
}

func (m *model) add(id int32, fates ...string) {
	m.mu.Lock()
	a := m.owned[id]
	fate := ""
	if m.drive.IntN(10) == 0 {
		fate = fates[m.drive.IntN(len(fates))]
	}
	m.fates[a.p][a.next] = fate
	a.next++
	m.mu.Unlock()
	m.w.add(record(id, int(a.next-1)))
}

// check takes what may be committed, and compares it with what was done.
func (m *model) check() {
	moved, back := m.w.finished()
	assert.Empty(m, back)
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, next := range moved {
		a := m.owned[id]
		for offset := a.first; offset < next; offset++ {
			if !m.done[a.p][offset] {
				m.Errorf("%d is committed, %d is not done", next, offset)
				return
			}
		}
	}
}

func (m *model) set(mode string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mode = mode
}

// step does something by chance.
func (m *model) step() {
	id := int32(m.drive.IntN(3))
	switch n := m.drive.IntN(100); {
	case m.owned[id] == nil:
		m.assign(id)
	case n < 2:
		m.revoke(id)
	case n < 10:
		m.set([]string{"up", "up", "up", "away", "busy", "refuses"}[m.drive.IntN(6)])
	case n < 60:
		for range m.drive.IntN(20) {
			m.add(id, m.bad...)
		}
	case n < 70:
		m.check()
	default:
		time.Sleep(time.Duration(m.drive.IntN(300)) * time.Millisecond)
	}
}

func (m *model) run() {
	ctx, cancel := context.WithCancel(m.Context())
	var workers sync.WaitGroup
	for range m.cfg.InFlight {
		workers.Go(func() {
			for records := m.w.take(ctx); records != nil; records = m.w.take(ctx) {
				m.c.carry(ctx, records)
			}
		})
	}
	for range 300 {
		m.step()
	}
	m.set("up")
	for range 300 { // others have to go through for a bad record to be told
		for id := range m.owned {
			m.add(id, "")
		}
		time.Sleep(time.Second)
	}
	time.Sleep(time.Minute)
	synctest.Wait()
	m.check()
	for id, a := range m.owned {
		assert.Equal(m, a.next, m.w.partitions[id].next, "all of partition %d is done", id)
	}
	s := m.w.status()
	assert.Equal(m, Delivering, s.State)
	assert.Zero(m, s.InFlight+s.Waiting)
	assert.Equal(m, []int{0, 0, 0, 0, 0}, []int{m.w.records, m.w.bytes, m.w.slots, m.w.handled, m.w.tries})
	assert.Empty(m, m.w.groups)
	cancel()
	workers.Wait()
}

func TestTheWindowByChance(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { newModel(t, seed).run() })
		})
	}
}
