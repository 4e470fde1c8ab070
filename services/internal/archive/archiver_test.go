package archive

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"fault-tolerant-tracing/tracing/kafkaclient"
	"fault-tolerant-tracing/tracing/tracingtest"
)

func TestOnceArchivesUpToTheEndAndGoesOnTheNextTime(t *testing.T) {
	t.Parallel()
	broker, to := startTopic(t, 3), directory(t)
	produce(t, broker, 3, 1000, func(i int, r *kgo.Record) {
		switch i % 7 {
		case 1:
			r.Key = nil
		case 2:
			r.Value = nil
		case 3:
			r.Value = []byte{}
		case 4:
			r.Value = []byte("not a batch")
		}
	})
	inOne := func(c *Config) { c.Once, c.Every = true, time.Hour }
	for range 2 { // the second time there is nothing to do
		require.NoError(t, start(t, broker, to, inOne).wait(t))
		requireSame(t, broker, to)
		assert.Len(t, segments(t, to), 3)
	}
	produce(t, broker, 3, 500)
	require.NoError(t, start(t, broker, to, inOne).wait(t))
	requireSame(t, broker, to)
	report := requireWhole(t, to)
	require.Len(t, report.Partitions, 3)
	for _, p := range report.Partitions {
		assert.Equal(t, 2, p.Segments)
		assert.Empty(t, p.Gaps)
		assert.Zero(t, p.Overlaps)
		assert.NotZero(t, p.NotBatches)
	}
}

func TestHeadersAreArchived(t *testing.T) {
	t.Parallel()
	broker, to := startTopic(t, 1), memory(t)
	produce(t, broker, 1, 2, func(_ int, r *kgo.Record) {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: "n", Value: nil}, kgo.RecordHeader{Key: "\xff", Value: []byte{}})
	})
	require.NoError(t, start(t, broker, to, onceOnly).wait(t))
	records, err := to.read(t.Context(), segments(t, to)[0])
	require.NoError(t, err)
	assert.Equal(t, []Header{{"n", []byte("1")}, {"n", nil}, {"\xff", []byte{}}}, records[1].Headers)
}

func TestATopicIsArchivedWhileItGrows(t *testing.T) {
	t.Parallel()
	broker, to := startTopic(t, 3), directory(t)
	r := start(t, broker, to)
	for n := range 5 {
		produce(t, broker, 3, 300)
		eventually(t, "archived", func() bool { return archived(t, to, int64(n+1)*300) })
	}
	requireSame(t, broker, to)
	eventually(t, "committed", func() bool { return committed(t, broker) == 1500 })
	assert.Positive(t, r.count("segment written", "records=100"))
	require.NoError(t, r.stop())
}

func committed(t *testing.T, broker *tracingtest.Broker) (total int64) {
	t.Helper()
	offsets, err := admin(t, broker).FetchOffsets(t.Context(), "tracing-archive")
	if err != nil {
		t.Log(err)
	}
	offsets.Each(func(o kadm.OffsetResponse) { total += max(0, o.At) })
	return total
}

func TestWhatIsOpenIsWrittenAtTheEnd(t *testing.T) {
	t.Parallel()
	broker, to := startTopic(t, 2), directory(t)
	r := start(t, broker, to, func(c *Config) { c.Every = time.Hour })
	produce(t, broker, 2, 100)
	eventually(t, "all is read", func() bool { return r.count("open_records=100") > 0 })
	assert.Empty(t, segments(t, to))
	require.NoError(t, r.stop())
	requireSame(t, broker, to)
	assert.EqualValues(t, 100, committed(t, broker))
}

func TestSegmentsAreClosedBySize(t *testing.T) {
	t.Parallel()
	broker, to := startTopic(t, 1), directory(t)
	value := make([]byte, 990_000)
	produce(t, broker, 1, 40, func(_ int, r *kgo.Record) { r.Value = value })
	require.NoError(t, start(t, broker, to, onceOnly, func(c *Config) { c.Every = time.Hour }).wait(t))
	var sizes []int64
	for _, s := range segments(t, to) {
		sizes = append(sizes, s.Last-s.First+1)
	}
	assert.Equal(t, []int64{17, 17, 6}, sizes)
	requireSame(t, broker, to)
}

func TestTheLargestSegmentIsClosedWhenAllTogetherAreTooLarge(t *testing.T) {
	t.Parallel()
	a := &Archiver{cfg: Config{Every: time.Hour}, parts: map[int32]*partition{}}
	for i := range int32(5) {
		a.parts[i] = &partition{open: &builder{raw: 12 << 20, began: time.Now()}}
		a.open += 12 << 20
	}
	assert.Nil(t, a.due(), "60 MiB")
	a.parts[3].open.raw += 3 << 20
	a.open += 4 << 20
	assert.Same(t, a.parts[3], a.due(), "64 MiB")
}

// A topic that is made anew has its offsets anew: what was read of the old one is
// archived as its own, and the new one from its start.
func TestATopicMadeAnewDoesNotMixWithTheOldOne(t *testing.T) {
	t.Parallel()
	broker, to := startTopic(t, 1), directory(t)
	r := start(t, broker, to, func(c *Config) { c.Every = time.Hour })
	named := func(name string) func(int, *kgo.Record) {
		return func(_ int, r *kgo.Record) { r.Value = []byte(name) }
	}
	produce(t, broker, 1, 50, named("old"))
	eventually(t, "joined", func() bool { return r.count("msg=archiving") == 1 })
	eventually(t, "confirmed", func() bool { return r.count("still the same", "open_records=50") > 0 })
	_, err := admin(t, broker).DeleteTopics(t.Context(), testTopic)
	require.NoError(t, err)
	broker.CreateTopics(t, 1, testTopic)
	produce(t, broker, 1, 80, named("new"))
	eventually(t, "the new topic is read", func() bool { return r.count("msg=archiving") >= 2 })
	require.NoError(t, r.stop())
	require.NoError(t, start(t, broker, to, onceOnly).wait(t))

	values := map[string]int{}
	for _, r := range everything(t, to) {
		values[string(r.Value)]++
	}
	assert.Equal(t, map[string]int{"old": 50, "new": 80}, values)
	report := requireWhole(t, to)
	require.Len(t, report.Partitions, 2)
	for _, p := range report.Partitions {
		assert.Zero(t, p.Overlaps)
		assert.Empty(t, p.Gaps)
	}
}

func TestRecordsThatWereRemovedBeforeTheyWereArchivedAreTold(t *testing.T) {
	t.Parallel()
	broker, to := startTopic(t, 1), directory(t)
	produce(t, broker, 1, 100)
	removeBefore(t, broker, 10) // a new archive begins where the topic begins: no news
	r := start(t, broker, to, onceOnly)
	require.NoError(t, r.wait(t))
	assert.Zero(t, r.count("removed"))
	produce(t, broker, 1, 100)
	removeBefore(t, broker, 150)
	r = start(t, broker, to, onceOnly)
	require.NoError(t, r.wait(t))
	assert.Equal(t, 1, r.count("level=WARN", "removed", "offsets=100-149", "records=50"))
	report := requireWhole(t, to)
	assert.Equal(t, []Range{{100, 149}}, report.Partitions[0].Gaps)
	assert.EqualValues(t, 140, report.Partitions[0].Records)
}

// While it reads, too: the client's position is before the start of the topic.
func TestRecordsThatWereRemovedWhileTheStorageWasAwayAreTold(t *testing.T) {
	t.Parallel()
	broker, to := startTopic(t, 1), directory(t)
	r := start(t, broker, to)
	produce(t, broker, 1, 100)
	eventually(t, "archived", func() bool { return archived(t, to, 100) })
	func() {
		moved := to.dir + "-away"
		require.NoError(t, os.Rename(to.dir, moved))
		defer func() { require.NoError(t, os.Rename(moved, to.dir)) }()
		produce(t, broker, 1, 10)
		eventually(t, "on hold", func() bool { return r.count("on hold") == 1 && r.count("reading is paused") == 1 })
		produce(t, broker, 1, 100)
		removeBefore(t, broker, 150)
	}()
	eventually(t, "told", func() bool { return r.count("level=WARN", "removed") == 1 })
	eventually(t, "archived", func() bool { return archived(t, to, 170) })
	require.NoError(t, r.stop())
	requireWhole(t, to)
}

func removeBefore(t *testing.T, broker *tracingtest.Broker, offset int64) {
	t.Helper()
	offsets := kadm.Offsets{}
	offsets.AddOffset(testTopic, 0, offset, -1)
	answers, err := admin(t, broker).DeleteRecords(t.Context(), offsets)
	require.NoError(t, err)
	require.NoError(t, answers.Error())
}

func TestAStorageThatIsAwayIsWaitedFor(t *testing.T) {
	t.Parallel()
	broker, to := startTopic(t, 3), directory(t)
	r := start(t, broker, to)
	produce(t, broker, 3, 300)
	eventually(t, "archived", func() bool { return archived(t, to, 300) })
	moved := to.dir + "-away"
	require.NoError(t, os.Rename(to.dir, moved))
	produce(t, broker, 3, 300)
	eventually(t, "on hold", func() bool { return r.count("level=WARN", "on hold") == 1 })
	produce(t, broker, 3, 300)
	require.NoError(t, os.Rename(moved, to.dir))
	eventually(t, "over", func() bool { return r.count("goes on") == 1 })
	eventually(t, "archived", func() bool { return archived(t, to, 900) })
	requireSame(t, broker, to)
	assert.Equal(t, 1, r.count("on hold"))
	require.NoError(t, r.stop())
}

// What cannot be written in time is left to the next run.
func TestStoppingDoesNotWaitForAStorageThatIsAway(t *testing.T) {
	t.Parallel()
	broker, to := startTopic(t, 1), directory(t)
	r := start(t, broker, to, func(c *Config) { c.StopTimeout = 200 * time.Millisecond })
	eventually(t, "joined", func() bool { return r.count("msg=archiving") == 1 })
	moved := to.dir + "-away"
	require.NoError(t, os.Rename(to.dir, moved))
	produce(t, broker, 1, 10)
	eventually(t, "on hold", func() bool { return r.count("on hold") == 1 })
	require.NoError(t, r.stop())
	assert.Equal(t, 1, r.count("level=WARN", "segment not written"))
	require.NoError(t, os.Rename(moved, to.dir))
	require.NoError(t, start(t, broker, to, onceOnly).wait(t))
	requireSame(t, broker, to)
}

// Who has asked for all of it is told that it was not done.
func TestOnceThatIsStoppedEarlyFails(t *testing.T) {
	t.Parallel()
	broker, to := startTopic(t, 1), directory(t)
	produce(t, broker, 1, 10)
	var unreadable atomic.Bool
	unreadable.Store(true)
	broker.Cluster().ControlKey(int16(kmsg.Fetch), func(kmsg.Request) (kmsg.Response, error, bool) {
		broker.Cluster().KeepControl()
		return nil, errors.New("connection lost"), unreadable.Load()
	})
	once := func(c *Config) { c.Once, c.StopTimeout = true, 200*time.Millisecond }
	r := start(t, broker, to, once)
	eventually(t, "begun", func() bool { return r.count("msg=archiving") == 1 })
	require.ErrorIs(t, r.stop(), context.Canceled, "nothing was read")

	r = start(t, broker, to, once)
	eventually(t, "begun", func() bool { return r.count("msg=archiving") == 1 })
	moved := to.dir + "-away"
	require.NoError(t, os.Rename(to.dir, moved))
	unreadable.Store(false)
	eventually(t, "on hold", func() bool { return r.count("on hold") == 1 })
	require.ErrorIs(t, r.stop(), context.Canceled, "nothing was written")
	require.NoError(t, os.Rename(moved, to.dir))
}

func TestABrokerThatIsAwayIsWaitedFor(t *testing.T) {
	t.Parallel()
	broker, to := startTopic(t, 3), directory(t)
	r := start(t, broker, to)
	produce(t, broker, 3, 300)
	eventually(t, "archived", func() bool { return archived(t, to, 300) })
	broker.Stop()
	require.NoError(t, broker.Start())
	produce(t, broker, 3, 300)
	eventually(t, "archived", func() bool { return archived(t, to, 600) })
	require.NoError(t, r.stop())
	requireSame(t, broker, to)
}

// So that the next owner need not read it again.
func TestARenewedCertificateIsUsed(t *testing.T) {
	t.Parallel()
	authority := tracingtest.NewAuthority(t)
	files := authority.NewPEMFiles(t, time.Now().Add(time.Hour))
	broker := tracingtest.StartBroker(t, kfake.TLS(authority.ServerTLS(t)), kfake.SeedTopics(1, testTopic))
	producer := client(t, broker, kgo.DialTLSConfig(authority.ClientTLS(t)))
	to := memory(t)
	r := start(t, broker, to, func(c *Config) {
		c.Cluster.RefreshInterval = 50 * time.Millisecond
		c.Cluster.Security = kafkaclient.Security{Protocol: "SSL", TLSCAFile: files.CA, TLSCertFile: files.Cert, TLSKeyFile: files.Key}
	})
	for n := range int64(2) {
		require.NoError(t, producer.ProduceSync(t.Context(), &kgo.Record{Value: newBatch(t, 2)}).FirstErr())
		eventually(t, "the record is archived", func() bool { return archived(t, to, n+1) })
		authority.Renew(t, files, time.Now().Add(time.Hour))
		eventually(t, "it joins anew", func() bool { return r.count("joining anew") > int(n) })
	}
	require.NoError(t, r.stop())
	require.Len(t, everything(t, to), 2)
	requireWhole(t, to)
}

func TestWhatIsOpenIsWrittenWhenPartitionsAreTakenAway(t *testing.T) {
	t.Parallel()
	broker, to := startTopic(t, 2), directory(t)
	hourly := func(c *Config) { c.Every = time.Hour }
	first := start(t, broker, to, hourly)
	produce(t, broker, 2, 100)
	eventually(t, "all is read", func() bool { return first.count("open_records=100") > 0 })
	second := start(t, broker, to, hourly)
	eventually(t, "they share", func() bool { return second.count("msg=archiving") == 1 })
	assert.Equal(t, 2, first.count("segment written"))
	require.NoError(t, first.stop())
	require.NoError(t, second.stop())
	requireSame(t, broker, to)
	assert.Len(t, segments(t, to), 2)
}

func TestTwoArchiversShareThePartitions(t *testing.T) {
	t.Parallel()
	broker, to := startTopic(t, 4), directory(t)
	ctx, cancel := context.WithCancel(t.Context())
	produced := make(chan int)
	go func() {
		n := 0
		for ctx.Err() == nil {
			produce(t, broker, 4, 40)
			n += 40
		}
		produced <- n
	}()
	first := start(t, broker, to)
	eventually(t, "the first has all", func() bool { return first.count("msg=archiving", "[0 1 2 3]") == 1 })
	second := start(t, broker, to)
	eventually(t, "they share", func() bool {
		return first.count("msg=archiving", "[0 1]")+first.count("msg=archiving", "[2 3]") == 1 && second.count("msg=archiving") == 1
	})
	require.NoError(t, first.stop())
	eventually(t, "the second has all", func() bool { return second.count("msg=archiving", "[0 1 2 3]") == 1 })
	cancel()
	n := <-produced
	eventually(t, "archived", func() bool { return archived(t, to, int64(n)) })
	require.NoError(t, second.stop())
	require.NoError(t, start(t, broker, to, onceOnly).wait(t))
	requireSame(t, broker, to)
	for _, p := range requireWhole(t, to).Partitions {
		assert.Empty(t, p.Gaps)
	}
}

// Reading is paused while the storage is away, and partitions that come back
// after they went are paused still.
func TestARebalanceWhileTheStorageIsAway(t *testing.T) {
	t.Parallel()
	broker, to := startTopic(t, 4), directory(t)
	first := start(t, broker, to)
	eventually(t, "the first has all", func() bool { return first.count("msg=archiving", "[0 1 2 3]") == 1 })
	moved := to.dir + "-away"
	require.NoError(t, os.Rename(to.dir, moved))
	produce(t, broker, 4, 400)
	eventually(t, "reading is paused", func() bool { return first.count("reading is paused") > 0 })
	second := start(t, broker, memory(t))
	eventually(t, "they share", func() bool { return second.count("msg=archiving") == 1 })
	require.NoError(t, second.stop())
	eventually(t, "the first has all again", func() bool { return first.count("partitions assigned", "[0 1 2 3]") == 2 })
	produce(t, broker, 4, 400)
	require.NoError(t, os.Rename(moved, to.dir))
	eventually(t, "archived", func() bool { return archived(t, to, 800) })
	require.NoError(t, first.stop())
	requireSame(t, broker, to)
}

// named makes static members of one name, and throws their log away: a client that
// was fenced off may outlive the test.
func named(session time.Duration) func(*Config) {
	return func(c *Config) {
		c.InstanceID, c.SessionTimeout, c.StopTimeout = "one", session, 200*time.Millisecond
		c.Log = slog.New(slog.DiscardHandler)
	}
}

// Two of one name would take turns for ever.
func TestAnArchiverWhoseNameAnotherOneTakesEnds(t *testing.T) {
	t.Parallel()
	broker, to := startTopic(t, 1), directory(t)
	produce(t, broker, 1, 10)
	first := start(t, broker, to, named(time.Minute))
	eventually(t, "the first archives", func() bool { return archived(t, to, 10) })
	second := start(t, broker, to, named(time.Minute))
	require.ErrorContains(t, first.wait(t), "fenced")
	produce(t, broker, 1, 10)
	eventually(t, "the second archives", func() bool { return archived(t, to, 20) })
	require.NoError(t, second.stop())
	requireSame(t, broker, to)
}

// A static member that comes back after its session has run out may be fenced off
// by itself.
func TestAnArchiverThatIsFencedOffLaterJoinsAnew(t *testing.T) {
	t.Parallel()
	broker, to := startTopic(t, 1), directory(t)
	produce(t, broker, 1, 10)
	const session = 6 * time.Second
	began := time.Now()
	first := start(t, broker, to, named(session))
	eventually(t, "it archives", func() bool { return archived(t, to, 10) })
	eventually(t, "its session could have run out", func() bool { return time.Since(began) > 2*session })
	other := client(t, broker, kgo.ConsumerGroup("tracing-archive"), kgo.InstanceID("one"), kgo.ConsumeTopics(testTopic), kgo.Balancers(kgo.RangeBalancer()))
	require.ErrorContains(t, other.PollFetches(t.Context()).Err(), "FENCED", "the archiver has joined anew")
	other.Close()
	produce(t, broker, 1, 10)
	eventually(t, "it archives again", func() bool { return archived(t, to, 20) })
	require.NoError(t, first.stop())
	requireSame(t, broker, to)
}

func TestNoSuchTopicIsAnError(t *testing.T) {
	t.Parallel()
	broker := tracingtest.StartBroker(t)
	assert.EqualError(t, start(t, broker, memory(t)).wait(t), "there is no topic tracing-topic on "+broker.Addr())
}

// A broker that has lost what it had acknowledged gives its offsets out again.
func TestATopicThatEndsBeforeTheArchiveIsAnError(t *testing.T) {
	t.Parallel()
	broker, to := startTopic(t, 1), directory(t)
	produce(t, broker, 1, 10)
	require.NoError(t, start(t, broker, to, onceOnly).wait(t))
	s := segments(t, to)[0]
	content, _ := object(t, to.bucket, s.Name())
	s.First, s.Last = 10, 20
	require.NoError(t, to.put(t.Context(), s.Name(), content))
	assert.ErrorContains(t, start(t, broker, to, onceOnly).wait(t), "partition 0 of tracing-topic ends at offset 10, but the archive has it up to 20")
}
