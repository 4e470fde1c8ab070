package tracing

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"fault-tolerant-tracing/tracing/batch"
	"fault-tolerant-tracing/tracing/tracingtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	sendingFromSpool = "sending spans from the spool"
	spooledSpans     = "spans wait for kafka in the spool"

	fileLimit = "FILE_LIMIT" // of the program: how large its files may be, in bytes
)

// traced is a program that makes spans, life-0, life-1, …, as many as it is told to,
// and ends in order when its input does. Its log is its output.
func traced() {
	addr, dir, life := os.Args[1], os.Args[2], os.Args[3]
	spans, err := strconv.Atoi(os.Args[4])
	if err != nil {
		panic(err)
	}
	if limit, err := strconv.ParseUint(os.Getenv(fileLimit), 10, 64); err == nil {
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: limit, Max: limit}); err != nil {
			panic(err)
		}
	}
	tracer, closeTracer, err := New(Config{
		Service: "traced", Kafka: cluster(addr), SpoolDir: dir, FlushInterval: 10 * time.Millisecond,
		Logger: slog.New(slog.NewJSONHandler(os.Stdout, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if err != nil {
		panic(err)
	}
	for n := range spans {
		tracer.StartSpan(fmt.Sprintf("%s-%d", life, n)).Finish()
		if n%5 == 0 {
			time.Sleep(time.Millisecond) // an even pace, which the queue keeps up with
		}
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := closeTracer(ctx); err != nil {
		panic(err)
	}
	os.Exit(0)
}

// program is traced as a process of its own.
type program struct {
	cmd   *exec.Cmd
	stdin io.Closer
	log   *bufio.Scanner
}

func startProgram(t *testing.T, addr, dir, life string, spans int, settings ...string) *program {
	t.Helper()
	cmd := tracingtest.Program(t, settings, addr, dir, life, strconv.Itoa(spans))
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	return &program{cmd, stdin, bufio.NewScanner(stdout)}
}

// spans returns of how many spans the next line of the log tells that says so. It
// returns false when the program has ended.
func (p *program) spans(message string) (int, bool) {
	for p.log.Scan() {
		var line struct {
			Msg   string
			Spans int
		}
		if json.Unmarshal(p.log.Bytes(), &line) == nil && line.Msg == message {
			return line.Spans, true
		}
	}
	return 0, false
}

// spoolThenKill kills the program when so many of its spans are in the spool, and
// returns how many there are in the end.
func (p *program) spoolThenKill(t *testing.T, atLeast int) (spooled int) {
	t.Helper()
	for {
		n, running := p.spans(spooledSpans)
		if !running {
			require.ErrorContains(t, p.cmd.Wait(), "killed")
			return spooled
		}
		if spooled += n; spooled >= atLeast {
			require.NoError(t, p.cmd.Process.Kill())
		}
	}
}

// end ends the program in order.
func (p *program) end(t *testing.T) {
	t.Helper()
	require.NoError(t, p.stdin.Close())
	_, _ = p.spans("none: read to the end")
	require.NoError(t, p.cmd.Wait())
}

// While Kafka is away the process is killed KILLS times, and once more as it sends what it
// finds.
func TestNoSpanIsLostWhileKafkaIsAwayAndTheProcessIsKilled(t *testing.T) {
	t.Parallel()
	kills := 4
	if text := os.Getenv("KILLS"); text != "" {
		var err error
		kills, err = strconv.Atoi(text)
		require.NoError(t, err)
	}
	b := startBroker(t)
	b.Stop()
	dir := t.TempDir()
	spooled := map[string]int{}
	for n := range kills {
		life := strconv.Itoa(n)
		spooled[life] = startProgram(t, b.Addr(), dir, life, 1_000_000).spoolThenKill(t, 300)
	}

	require.NoError(t, b.Start())
	killedAsItSends := startProgram(t, b.Addr(), dir, "e", 0)
	_, _ = killedAsItSends.spans(sendingFromSpool)
	require.NoError(t, killedAsItSends.cmd.Process.Kill())
	_ = killedAsItSends.cmd.Wait()

	startProgram(t, b.Addr(), dir, "f", 10).end(t)
	spooled["f"] = 10
	arrived := map[string][]string{} // without what came again
	last := map[string]int64{}       // by process
	for _, r := range tracingtest.ReadTopic(t, b.Addr(), DefaultTopic, 1) {
		decoded, err := batch.Decode(r.Value)
		require.NoError(t, err)
		assert.Equal(t, batch.Stats{}, statsOf(decoded))
		if decoded.GetSeqNo() <= last[string(r.Key)] {
			continue
		}
		assert.Equal(t, last[string(r.Key)]+1, decoded.GetSeqNo(), "no gap")
		last[string(r.Key)] = decoded.GetSeqNo()
		for _, s := range decoded.Spans {
			life, _, _ := strings.Cut(s.OperationName, "-")
			arrived[life] = append(arrived[life], s.OperationName)
		}
	}
	total := 0
	for life, atLeast := range spooled {
		total += atLeast
		assert.GreaterOrEqual(t, len(arrived[life]), atLeast)
		for n, name := range arrived[life] {
			require.Equal(t, fmt.Sprintf("%s-%d", life, n), name, "in order")
		}
	}

	t.Logf("%d kills, %d spans in the spool, none lost", kills, total)

	after := startProgram(t, b.Addr(), dir, "g", 0)
	require.NoError(t, after.stdin.Close())
	_, again := after.spans(sendingFromSpool)
	assert.False(t, again, "what Kafka has is in no spool")
	require.NoError(t, after.cmd.Wait())
}

func TestCloseLeavesInTheSpoolWhatKafkaDoesNotTake(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	b.Stop()
	cfg := TransportConfig{Kafka: cluster(b.Addr()), SpoolDir: t.TempDir()}
	tr, lines := startTransport(t, cfg, nil)
	newSource(t).feed(t, tr, 150)
	require.NoError(t, tr.Shutdown(ending(t, 0)))
	assert.Equal(t, 1, lines.Count("spans wait in the spool, to be sent at the next start\" topic=tracing-topic spans=150"))

	require.NoError(t, b.Start())
	tr, _ = startTransport(t, cfg, nil)
	require.NoError(t, tr.Shutdown(ending(t, patience)))
	batches := readBatches(t, b, 2)
	assert.Equal(t, names(0, 150), operations(batches))
	assert.Equal(t, []int64{1, 2}, seqNos(batches))
}

func TestADiskThatIsFullIsToldAndTheProcessGoesOn(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	b.Stop()
	p := startProgram(t, b.Addr(), t.TempDir(), "a", 2000, fileLimit+"=20000")
	_, told := p.spans("the spool does not take spans, they stay in memory")
	require.True(t, told)
	require.NoError(t, b.Start())
	p.end(t)
	assert.Len(t, operations(waitSpans(t, b, 2000)), 2000)
}
