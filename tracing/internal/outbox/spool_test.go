package outbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"fault-tolerant-tracing/tracing/tracingtest"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// spooling is an outbox with a spool whose producer the test answers for.
type spooling struct {
	*Outbox
	log      *tracingtest.Log
	produced chan delivery
}

func startSpooling(t *testing.T, cfg Config) *spooling {
	t.Helper()
	s := &spooling{log: new(tracingtest.Log), produced: make(chan delivery, 10_000)}
	cfg.Topic, cfg.Logger = DefaultTopic, s.log.Logger()
	if cfg.BufferBytes == 0 {
		cfg.BufferBytes = DefaultBufferBytes
	}
	if cfg.SpoolBytes == 0 {
		cfg.SpoolBytes = minSpoolBytes
	}
	var err error
	s.Outbox, err = start(scripted{s.produced}, cfg, "text", func(value []byte, n int) (first, second []byte, err error) { return value[:n], value[n:], nil })
	require.NoError(t, err)
	t.Cleanup(s.kill)
	return s
}

// kill ends the outbox as a process ends that is killed: nothing more is written.
func (s *spooling) kill() {
	s.stop()
	s.running.Wait()
	for _, spool := range s.spools {
		_ = spool.close()
	}
}

// push pushes texts, with one span per character.
func (s *spooling) push(t *testing.T, texts ...string) {
	t.Helper()
	for _, text := range texts {
		require.True(t, s.Push(Record{
			Key: []byte("key"), Value: []byte(text), Headers: []kafka.Header{{Key: "of", Value: []byte(text)}}, Spans: len(text),
		}))
	}
}

// take returns what the producer was given until now.
func (s *spooling) take() []delivery {
	synctest.Wait()
	var all []delivery
	for {
		select {
		case d := <-s.produced:
			all = append(all, d)
		default:
			return all
		}
	}
}

func values(deliveries []delivery) (all []string) {
	for _, d := range deliveries {
		all = append(all, d.value)
	}
	return all
}

func (s *spooling) acknowledgeAll() (all []string) {
	for _, d := range s.take() {
		all = append(all, d.value)
		d.report(nil)
	}
	return all
}

// later lets time pass, to the end of all that happens until then.
func later(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

const dirOfTexts = DefaultTopic + ".text"

func TestNothingIsWrittenWhileKafkaAcknowledgesInTime(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		o := startSpooling(t, Config{SpoolDir: dir})
		before, err := os.ReadFile(filepath.Join(dir, dirOfTexts, "0.spool"))
		require.NoError(t, err)
		for range 10 {
			o.push(t, "a", "b")
			later(spoolAfter - spoolEvery)
			require.Equal(t, []string{"a", "b"}, o.acknowledgeAll())
		}
		later(time.Minute)
		after, err := os.ReadFile(filepath.Join(dir, dirOfTexts, "0.spool"))
		require.NoError(t, err)
		assert.True(t, bytes.Equal(before, after))
	})
}

func TestWhatHasWaitedOutlivesTheProcess(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		o := startSpooling(t, Config{SpoolDir: dir})
		o.push(t, "a", "bc")
		later(spoolAfter)
		o.push(t, "d") // behind what waits: there is nothing more to wait for
		later(spoolEvery)
		assert.Zero(t, o.bytes, "memory is free")
		o.push(t, "lost")
		assert.Equal(t, []string{"a", "bc", "d", "lost"}, values(o.take()))
		o.kill()

		o = startSpooling(t, Config{SpoolDir: dir})
		assert.Equal(t, 1, o.log.Count(`msg="sending spans from the spool" topic=tracing-topic spans=4 records=3`))
		o.push(t, "e")
		later(spoolEvery)
		sent := o.take()
		require.Equal(t, []string{"a", "bc", "d", "e"}, values(sent))
		assert.Equal(t, []kafka.Header{{Key: "of", Value: []byte("bc")}}, sent[1].headers)
		sent[0].report(nil)
		sent[2].report(nil)
		later(spoolEvery)
		o.kill()

		o = startSpooling(t, Config{SpoolDir: dir})
		require.Equal(t, []string{"bc", "d", "e"}, o.acknowledgeAll(), "d comes twice: it was behind what was not acknowledged")
		later(spoolEvery)
		o.kill()

		o = startSpooling(t, Config{SpoolDir: dir})
		assert.Empty(t, o.take())
		assert.Zero(t, o.Left())
		assert.NotContains(t, o.log.String(), "level=ERROR")
	})
}

func TestSendingAgainReadsTheSpool(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		o := startSpooling(t, Config{SpoolDir: dir})
		o.push(t, "a", "b")
		later(2 * spoolAfter)
		for _, d := range o.take() {
			d.report(errors.New("made up"))
		}
		later(longestWait)
		assert.Equal(t, []string{"a", "b"}, o.acknowledgeAll())
	})
}

func TestShutdownLeavesTheRestInTheSpool(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		o := startSpooling(t, Config{SpoolDir: dir})
		o.push(t, "a", "b", "c")
		o.take()[0].report(nil)
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		require.NoError(t, o.Shutdown(ended))
		assert.Equal(t, 1, o.log.Count(`level=INFO msg="spans wait in the spool, to be sent at the next start" topic=tracing-topic spans=2`))

		o = startSpooling(t, Config{SpoolDir: dir})
		assert.Equal(t, []string{"b", "c"}, o.acknowledgeAll())
		require.NoError(t, o.Shutdown(t.Context()))

		o = startSpooling(t, Config{SpoolDir: dir})
		assert.Zero(t, o.Left())
	})
}

func TestEachProcessHasAFileAndTakesThoseOfTheDead(t *testing.T) {
	dir := t.TempDir()
	files := func() []string {
		names, err := filepath.Glob(filepath.Join(dir, dirOfTexts, "*"))
		require.NoError(t, err)
		return names
	}
	synctest.Test(t, func(t *testing.T) {
		a, b, c := startSpooling(t, Config{SpoolDir: dir}), startSpooling(t, Config{SpoolDir: dir}), startSpooling(t, Config{SpoolDir: dir})
		require.Len(t, files(), 3)
		a.push(t, "a")
		b.push(t, "b")
		c.push(t, "c")
		later(2 * spoolAfter)
		b.kill()
		c.kill()

		d := startSpooling(t, Config{SpoolDir: dir})
		d.push(t, "d")
		later(spoolEvery)
		assert.Equal(t, []string{"b", "c", "d"}, d.acknowledgeAll(), "not what a has, which lives")
		later(spoolEvery)
		assert.Len(t, d.spools, 1, "the others are free for other processes")

		e := startSpooling(t, Config{SpoolDir: dir})
		assert.Empty(t, e.take())
		assert.Len(t, files(), 3)
		assert.Equal(t, []string{"a"}, a.acknowledgeAll())
	})
}

func TestASpooledRecordIsHalvedUntilItIsTaken(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		refused := kafka.NewError(kafka.ErrMsgSizeTooLarge, "", false)
		o := startSpooling(t, Config{SpoolDir: dir})
		o.push(t, "abc", "d")
		later(2 * spoolAfter)
		for _, d := range o.take() {
			d.report(refused) // which of them was too large is found out
		}
		later(longestWait)
		o.take()[0].report(refused)
		a := o.take()
		require.Equal(t, []string{"a"}, values(a))
		assert.Equal(t, []kafka.Header{{Key: "of", Value: []byte("abc")}}, a[0].headers)
		a[0].report(nil)
		require.Equal(t, []string{"bc"}, values(o.take()))
		later(spoolEvery)
		o.kill()

		o = startSpooling(t, Config{SpoolDir: dir})
		assert.Equal(t, []string{"abc", "d"}, o.acknowledgeAll(), "a half that is done does not take the other along")
		later(spoolEvery)
		assert.Zero(t, o.bytes)
		o.kill()

		o = startSpooling(t, Config{SpoolDir: dir})
		assert.Zero(t, o.Left())
	})
}

func TestASpoolThatIsFullTakesNothingUntilThereIsRoom(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		o := startSpooling(t, Config{SpoolDir: dir, BufferBytes: 4 << 20})
		text := func(n int) string { return fmt.Sprintf("%06d", n) + strings.Repeat("x", 500_000+n%7*10_000) }
		taken := 0
		for o.Push(Record{Value: []byte(text(taken)), Spans: 1}) {
			taken++
			later(spoolEvery)
		}
		assert.Greater(t, taken*500_000, 8<<20, "more than memory holds")
		assert.Equal(t, 1, o.log.Count("the spool does not take spans, they stay in memory\" topic=tracing-topic err=\"the spool is full"))
		next := 0
		for round := range 50 { // acknowledged as it comes in: there is always room, wherever it is in the file
			for _, d := range o.take() {
				require.Equal(t, text(next), d.value)
				next++
				d.report(nil)
			}
			later(spoolRetry)
			for range 1 + round%5 {
				require.True(t, o.Push(Record{Value: []byte(text(taken)), Spans: 1}), "round %d", round)
				taken++
			}
			later(spoolRetry)
		}
		info, err := os.Stat(filepath.Join(dir, dirOfTexts, "0.spool"))
		require.NoError(t, err)
		assert.LessOrEqual(t, info.Size(), int64(minSpoolBytes))
	})
}

func TestAFullSpoolCanBeEmptied(t *testing.T) {
	for _, size := range []int{3000, 100_000} {
		s, _, err := openSpool(filepath.Join(t.TempDir(), "0.spool"), minSpoolBytes, slog.New(slog.DiscardHandler))
		require.NoError(t, err)
		s.db.NoSync = true                // for speed
		for n := 1 << 10; n > 0; n /= 4 { // up to the last page
			for err = nil; err == nil; {
				_, err = s.append(slices.Repeat([]Record{{Value: make([]byte, size)}}, n))
			}
			require.ErrorIs(t, err, errSpoolFull)
		}
		for s.first < s.end {
			require.NoError(t, s.trim(min(s.first+1+s.first/10, s.end)))
		}
		require.NoError(t, s.close())
	}
}

func TestADirectoryThatCannotBeUsedIsAnError(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, err := start(scripted{}, Config{SpoolDir: file, SpoolBytes: minSpoolBytes, Logger: slog.New(slog.DiscardHandler)}, "text", nil)
	require.ErrorContains(t, err, "make the directory of the spool: mkdir "+file)
	_, err = start(scripted{}, Config{SpoolDir: t.TempDir(), SpoolBytes: 1000, Logger: slog.New(slog.DiscardHandler)}, "text", nil)
	require.ErrorContains(t, err, "a spool of 1000 bytes is too small: at least 16777216")
}

func TestASpoolThatFailsLeavesSpansInMemory(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		o := startSpooling(t, Config{SpoolDir: dir, BufferBytes: MaxRecordBytes})
		require.NoError(t, o.spools[0].close()) // as good as any reason why it cannot be written
		half := strings.Repeat("x", MaxRecordBytes/2)
		o.push(t, half, half)
		later(10 * spoolAfter)
		assert.False(t, o.Push(Record{Value: []byte("x")}), "memory is full")
		assert.Equal(t, 1, o.log.Count("the spool does not take spans, they stay in memory"))
		assert.Equal(t, []string{half, half}, o.acknowledgeAll())
		later(spoolRetry)
		o.push(t, half)
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		var left *LeftBehindError
		require.ErrorAs(t, o.Shutdown(ended), &left)
		assert.Equal(t, len(half), left.Spans)
	})
}

// spooled makes a spool of a process that was killed. It returns its path and what
// is in it.
func spooled(t *testing.T, dir string, records int) (path string, texts []string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		o := startSpooling(t, Config{SpoolDir: dir})
		for n := range records {
			texts = append(texts, fmt.Sprintf("text %d ", n)+strings.Repeat("x", 20_000))
		}
		o.push(t, texts...)
		later(2 * spoolAfter)
		o.kill()
	})
	return filepath.Join(dir, dirOfTexts, "0.spool"), texts
}

func TestADamagedRecordIsToldAndTheOthersAreSent(t *testing.T) {
	dir := t.TempDir()
	path, texts := spooled(t, dir, 10)
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	data[bytes.LastIndex(data, []byte("text 4 "))]++
	require.NoError(t, os.WriteFile(path, data, 0o600))
	synctest.Test(t, func(t *testing.T) {
		o := startSpooling(t, Config{SpoolDir: dir})
		assert.Equal(t, 1, o.log.Count("a spool is damaged, some of its records are lost\" topic=tracing-topic path="+path+" records=1"))
		assert.Equal(t, append(texts[:4:4], texts[5:]...), o.acknowledgeAll())
	})
}

func TestARecordDamagedWhileItWaitsIsCounted(t *testing.T) {
	dir := t.TempDir()
	path, texts := spooled(t, dir, 3)
	synctest.Test(t, func(t *testing.T) {
		o := startSpooling(t, Config{SpoolDir: dir})
		for n, d := range o.take() {
			if n == 1 {
				data, err := os.ReadFile(path)
				require.NoError(t, err)
				data[bytes.LastIndex(data, []byte("text 1 "))]++
				require.NoError(t, os.WriteFile(path, data, 0o600))
			}
			d.report(errors.New("made up"))
		}
		later(longestWait)
		assert.Equal(t, []string{texts[0], texts[2]}, o.acknowledgeAll())
		assert.EqualValues(t, len(texts[1]), o.Tally.Losses().FailedToEmit)
		assert.Equal(t, 1, o.log.Count("losing spans"))
	})
}

// A file that was cut, or overwritten, somewhere: what is read of it is as it was
// written, what is not is told, and the process goes on. Only damage to the head of
// the file is not seen: the last write then counts as one that did not happen.
func TestAnyDamageIsToldAndNothingElseIsSent(t *testing.T) {
	dir := t.TempDir()
	path, texts := spooled(t, dir, 40)
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	const head = 2 * 4096
	damage := map[string]func(at int) []byte{
		"cut":    func(at int) []byte { return whole[:at] },
		"zeroed": func(at int) []byte { return append(bytes.Clone(whole[:at]), make([]byte, len(whole)-at)...) },
		"noise": func(at int) []byte {
			data := bytes.Clone(whole)
			for i := at; i < min(at+200, len(data)); i++ {
				data[i] ^= 0x5a
			}
			return data
		},
	}
	for name, damaged := range damage {
		t.Run(name, func(t *testing.T) {
			for at := 1; at < len(whole); at += len(whole)/40 + 1 {
				require.NoError(t, os.WriteFile(path, damaged(at), 0o600))
				synctest.Test(t, func(t *testing.T) {
					o := startSpooling(t, Config{SpoolDir: dir})
					sent := o.acknowledgeAll()
					lost := int(o.Tally.Losses().FailedToEmit)
					if told := strings.Contains(o.log.String(), "spool is damaged") || lost > 0; !told && at >= head {
						require.Equal(t, texts, sent, "at %d", at)
					}
					require.Subset(t, texts, sent, "at %d", at)
					o.push(t, "new")
					later(2 * spoolAfter)
					require.Equal(t, []string{"new"}, o.acknowledgeAll(), "at %d", at)
					later(spoolRetry)
					o.kill()
				})
				require.NoError(t, os.RemoveAll(filepath.Dir(path)))
				require.NoError(t, os.Mkdir(filepath.Dir(path), 0o700))
			}
		})
	}
}

// instant is a producer to which Kafka answers at once.
type instant struct{}

func (instant) Produce(m *kafka.Message, done func(kafka.TopicPartition, error)) error {
	done(m.TopicPartition, nil)
	return nil
}

func (instant) Close(context.Context) error { return nil }

// What a record costs while Kafka is well, without what the producer costs.
func BenchmarkOutbox(b *testing.B) {
	for _, bench := range []struct{ name, dir string }{{"memory", ""}, {"spool", b.TempDir()}} {
		b.Run(bench.name, func(b *testing.B) {
			o, err := start(instant{}, Config{
				Topic: DefaultTopic, BufferBytes: DefaultBufferBytes, SpoolDir: bench.dir, SpoolBytes: DefaultSpoolBytes, Logger: slog.New(slog.DiscardHandler),
			}, "text", nil)
			require.NoError(b, err)
			r := Record{Key: []byte("key"), Value: make([]byte, 30_000), Spans: 100}
			for b.Loop() {
				for !o.Push(r) {
					runtime.Gosched()
				}
			}
			require.NoError(b, o.Shutdown(b.Context()))
		})
	}
}
