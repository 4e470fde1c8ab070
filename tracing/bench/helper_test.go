package bench

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"fault-tolerant-tracing/tracing/batch"
	"fault-tolerant-tracing/tracing/tracingtest"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/uber/jaeger-client-go/thrift"
	"github.com/uber/jaeger-client-go/thrift-gen/agent"
	"github.com/uber/jaeger-client-go/thrift-gen/jaeger"
	"github.com/uber/jaeger-client-go/thrift-gen/zipkincore"
)

// helperEnv makes the test binary a receiver: a process of its own, so that its
// CPU is not that of the transport under test.
const helperEnv = "TRANSPORT_BENCH_RECEIVER"

func TestMain(m *testing.M) {
	if kind := os.Getenv(helperEnv); kind != "" {
		if err := receive(kind); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	tracingtest.VerifyMain(m)
}

// receive tells its address on stdout, then answers each line on stdin with the
// number of spans received so far, and ends when stdin does.
func receive(kind string) error {
	var spans atomic.Int64
	addr, err := map[string]func(*atomic.Int64) (string, error){"kafka": serveKafka, "http": serveHTTP, "udp": serveUDP}[kind](&spans)
	if err != nil {
		return err
	}
	fmt.Println(addr)
	questions := bufio.NewScanner(os.Stdin)
	for questions.Scan() {
		fmt.Println(spans.Load())
	}
	return questions.Err()
}

func serveKafka(*atomic.Int64) (string, error) {
	c, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		return "", err
	}
	return c.ListenAddrs()[0], nil
}

func serveHTTP(spans *atomic.Int64) (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	go func() {
		_ = http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			value, err := io.ReadAll(r.Body)
			if err != nil {
				w.WriteHeader(http.StatusBadRequest)
				return
			}
			frame, err := batch.Parse(value)
			if err != nil {
				w.WriteHeader(http.StatusBadRequest)
				return
			}
			spans.Add(int64(frame.Spans()))
			w.WriteHeader(http.StatusAccepted)
		}))
	}()
	return fmt.Sprintf("http://%s/api/traces", l.Addr()), nil
}

// agentHandler is what Jaeger's agent does with a packet, up to the counting.
type agentHandler struct{ spans *atomic.Int64 }

func (h agentHandler) EmitBatch(_ context.Context, b *jaeger.Batch) error {
	h.spans.Add(int64(len(b.Spans)))
	return nil
}

func (agentHandler) EmitZipkinBatch(context.Context, []*zipkincore.Span) error { return nil }

func serveUDP(spans *atomic.Int64) (string, error) {
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return "", err
	}
	if err := enlarge(conn); err != nil {
		return "", err
	}
	packets := make(chan []byte, 10_000)
	go func() {
		for packet := range packets {
			buf := thrift.NewTMemoryBufferLen(len(packet))
			buf.Write(packet)
			protocol := thrift.NewTCompactProtocolFactoryConf(nil).GetProtocol(buf)
			if _, err := agent.NewAgentProcessor(agentHandler{spans}).Process(context.Background(), protocol, protocol); err != nil {
				fmt.Fprintln(os.Stderr, err)
			}
		}
	}()
	go func() {
		defer close(packets)
		packet := make([]byte, 1<<16)
		for {
			n, err := conn.Read(packet)
			if err != nil {
				return
			}
			packets <- append([]byte(nil), packet[:n]...)
		}
	}()
	return conn.LocalAddr().String(), nil
}

// enlarge gives the socket room for a burst of packets of 65 kB: as much as the
// system allows, and more if the process may.
func enlarge(conn *net.UDPConn) error {
	const room = 16 << 20
	if err := conn.SetReadBuffer(room); err != nil {
		return err
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	return raw.Control(func(fd uintptr) {
		_ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUFFORCE, room)
	})
}

// receiver is the other end of receive.
type receiver struct {
	addr    string
	stdin   io.Writer
	answers *bufio.Scanner
}

func startReceiver(t testing.TB, kind string) *receiver {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), helperEnv+"="+kind)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	r := &receiver{stdin: stdin, answers: bufio.NewScanner(stdout)}
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = cmd.Wait()
	})
	r.addr = r.answer(t)
	return r
}

func (r *receiver) answer(t testing.TB) string {
	t.Helper()
	require.True(t, r.answers.Scan(), "the receiver has ended")
	return strings.TrimSpace(r.answers.Text())
}

// spans asks how many have arrived.
func (r *receiver) spans(t testing.TB) (n int) {
	t.Helper()
	_, err := fmt.Fprintln(r.stdin)
	require.NoError(t, err)
	_, err = fmt.Sscan(r.answer(t), &n)
	require.NoError(t, err)
	return n
}
