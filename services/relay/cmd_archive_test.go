package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"fault-tolerant-tracing/services/internal/archive"
	"fault-tolerant-tracing/services/internal/payload"
	"fault-tolerant-tracing/services/internal/replay"
	"fault-tolerant-tracing/tracing/tracingtest"
)

var archiveKills = flag.Int("archive.kills", 10, "how often TestAKilledArchiverLosesNothing kills")

// relayCommand returns a relay in a process of its own, not yet started.
func relayCommand(t *testing.T, broker *tracingtest.Broker, arguments ...string) *exec.Cmd {
	t.Helper()
	return tracingtest.Program(t, []string{
		"TRACING_KAFKA_BROKERS=" + broker.Addr(), "SESSION_TIMEOUT=6s", "GROUP_INSTANCE_ID=one", "LOG_FORMAT=json",
	}, arguments...)
}

// startUntil starts cmd and returns when it has logged line.
func startUntil(t *testing.T, cmd *exec.Cmd, line string) {
	t.Helper()
	log := &tracingtest.Log{}
	cmd.Stderr = io.MultiWriter(log, t.Output())
	require.NoError(t, cmd.Start())
	require.Eventually(t, func() bool { return strings.Contains(log.String(), line) }, patience, 5*time.Millisecond, line)
}

// The archiver is killed with SIGKILL at random points of its work while records
// keep coming. In the end every record must be in the archive, once and byte for
// byte, and no segment may be broken.
func TestAKilledArchiverLosesNothing(t *testing.T) {
	t.Parallel()
	broker := tracingtest.StartBroker(t)
	broker.CreateTopics(t, 3, topic)
	dir := t.TempDir()
	url := "file://" + filepath.ToSlash(dir)
	random := rand.New(rand.NewPCG(2026, 3))

	ctx, cancel := context.WithCancel(t.Context())
	var producing sync.WaitGroup
	producing.Go(func() { produceUntil(ctx, t, broker) })

	for kill := range *archiveKills {
		cmd := relayCommand(t, broker, "archive", "--to", url, "--every", "10ms")
		line := `"msg":"archiving"`
		if kill%2 == 1 {
			line = `"msg":"segment written"`
		}
		startUntil(t, cmd, line)
		select { // a random moment of its work
		case <-time.After(time.Duration(random.IntN(300_000)) * time.Microsecond):
		case <-t.Context().Done():
		}
		require.NoError(t, cmd.Process.Kill())
		_ = cmd.Wait()
	}
	cancel()
	producing.Wait()
	output, err := relayCommand(t, broker, "archive", "--to", url, "--once").CombinedOutput()
	for again := 0; again < 3 && strings.Contains(string(output), "fenced"); again++ { // by a commit of the one that was killed last
		output, err = relayCommand(t, broker, "archive", "--to", url, "--once").CombinedOutput()
	}
	require.NoError(t, err, "%s", output)

	requireArchived(t, broker, url)
}

// produceUntil writes batches of different sizes, 5000 a second at most, until
// ctx ends.
func produceUntil(ctx context.Context, t *testing.T, broker *tracingtest.Broker) {
	client, err := kgo.NewClient(kgo.SeedBrokers(broker.Addr()), kgo.DefaultProduceTopic(topic))
	if !assert.NoError(t, err) {
		return
	}
	defer client.Close()
	pace := time.NewTicker(20 * time.Millisecond)
	defer pace.Stop()
	for n := 0; ctx.Err() == nil; n++ {
		<-pace.C
		records := make([]*kgo.Record, 100)
		for i := range records {
			value := newBatch(t, operations(fmt.Sprint("operation-", n, "-", i), 1+i%9)...)
			records[i] = &kgo.Record{Key: fmt.Append(nil, "key-", i%10), Value: value}
		}
		if !assert.NoError(t, client.ProduceSync(context.WithoutCancel(ctx), records...).FirstErr()) {
			return
		}
	}
}

// requireArchived requires the archive to be whole, and to have each record of
// the topic once and as it is there.
func requireArchived(t *testing.T, broker *tracingtest.Broker, url string) {
	t.Helper()
	var report bytes.Buffer
	require.NoError(t, verifyArchive(t.Context(), url, payload.Setting{}, &report))
	t.Logf("%s", report.String())

	storage, err := archive.Open(t.Context(), url)
	require.NoError(t, err)
	defer storage.Close()
	want := tracingtest.ReadTopic(t, broker.Addr(), topic, 1)
	source := storage.Source(topic, time.Time{}, time.Time{})
	i := 0
	require.NoError(t, source.Read(t.Context(), func(got replay.Record) error {
		if i < len(want) {
			w := want[i]
			require.Equal(t, replay.Record{Partition: w.Partition, Offset: w.Offset, Time: w.Timestamp, Key: w.Key, Value: w.Value}, got)
		}
		i++
		return nil
	}))
	require.Equal(t, len(want), i)
	total, err := source.Total(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, i, total)
}

func TestAnArchiverStopsAtASignalWithEverythingWritten(t *testing.T) {
	t.Parallel()
	broker := tracingtest.StartBroker(t)
	broker.CreateTopics(t, 3, topic)
	url := "file://" + filepath.ToSlash(t.TempDir())
	cmd := relayCommand(t, broker, "archive", "--to", url, "--every", "1h")
	cmd.Env = append(cmd.Env, "LOG_LEVEL=debug")
	client, err := kgo.NewClient(kgo.SeedBrokers(broker.Addr()))
	require.NoError(t, err)
	defer client.Close()
	require.NoError(t, client.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Value: newBatch(t, "operation")}).FirstErr())
	startUntil(t, cmd, `"open_records":1`)
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	require.NoError(t, cmd.Wait())
	requireArchived(t, broker, url)
}

// A cron job that is ended early must not look as if all were archived.
func TestAnArchiverOfOnceThatIsInterruptedFails(t *testing.T) {
	t.Parallel()
	broker := tracingtest.StartBroker(t)
	broker.Stop()
	cmd := relayCommand(t, broker, "archive", "--to", "file://"+filepath.ToSlash(t.TempDir()), "--once")
	startUntil(t, cmd, "waiting for kafka")
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	require.Error(t, cmd.Wait())
	assert.Equal(t, 1, cmd.ProcessState.ExitCode())
}

func TestVerifyPrintsWhatItFinds(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	url := "file://" + filepath.ToSlash(dir)
	var out bytes.Buffer
	require.EqualError(t, verifyArchive(t.Context(), url, payload.Setting{}, &out), "archive "+url+": no segments")

	broker := tracingtest.StartBroker(t)
	broker.CreateTopics(t, 1, topic)
	client, err := kgo.NewClient(kgo.SeedBrokers(broker.Addr()))
	require.NoError(t, err)
	defer client.Close()
	require.NoError(t, client.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Value: newBatch(t, "one", "two")},
		&kgo.Record{Topic: topic, Value: []byte("no batch")}).FirstErr())
	output, err := relayCommand(t, broker, "archive", "--to", url, "--once").CombinedOutput()
	require.NoError(t, err, "%s", output)
	require.NoError(t, verifyArchive(t.Context(), url, payload.Setting{}, &out))
	assert.Contains(t, out.String(), "whole: 1 segment with 2 records and 2 spans")

	files, err := filepath.Glob(filepath.Join(dir, "*", "*", "*", "*"))
	require.NoError(t, err)
	require.Len(t, files, 1)
	require.NoError(t, os.Truncate(files[0], 50))
	out.Reset()
	require.EqualError(t, verifyArchive(t.Context(), url, payload.Setting{}, &out), "archive "+url+": 1 of 1 segment broken")
	assert.Contains(t, out.String(), "broken: "+topic+"/")
}
