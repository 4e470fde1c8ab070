package tracingtest

import (
	"context"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/hashicorp/consul/sdk/freeport"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"
)

// VerifyMain runs the tests of a package and fails when goroutines are left
// behind. Call it from TestMain. It knows the two that stay for as long as the
// process: the port allocator behind [FreeAddr] and [StartBroker], and the clock
// of the metrics library that sarama uses. opts name further ones. Others have half
// a minute to end, which a client takes that the broker does not let in.
func VerifyMain(m *testing.M, opts ...goleak.Option) {
	opts = append(opts,
		goleak.IgnoreTopFunction("github.com/hashicorp/consul/sdk/freeport.checkFreedPorts"),
		goleak.IgnoreTopFunction("github.com/rcrowley/go-metrics.(*meterArbiter).tick"),
	)
	goleak.VerifyTestMain(thenWait{m, opts}, opts...)
}

// thenWait runs the tests, and waits for the goroutines that they leave behind.
type thenWait struct {
	*testing.M
	opts []goleak.Option
}

func (w thenWait) Run() int {
	code := w.M.Run()
	for deadline := time.Now().Add(patience / 2); goleak.Find(w.opts...) != nil && time.Now().Before(deadline); {
	}
	return code
}

// FreePort returns a port of this machine that nothing else is given until the
// test ends, in this process or in another one, so that it may be bound, freed
// and bound again.
func FreePort(t testing.TB) int {
	t.Helper()
	for range 100 {
		ports, err := freeport.Take(1)
		if err != nil {
			t.Fatalf("take a free port: %v", err)
		}
		t.Cleanup(func() { freeport.Return(ports) })
		addr := fmt.Sprintf("127.0.0.1:%d", ports[0])
		l, err := net.Listen("tcp", addr)
		if err != nil { // something else has come to use it
			continue
		}
		_ = l.Close()
		awaitUnbound(addr)
		return ports[0]
	}
	t.Fatal("take a free port: a hundred of them are in use")
	return 0
}

// FreeAddr returns an address of this machine with a [FreePort].
func FreeAddr(t testing.TB) string {
	t.Helper()
	return fmt.Sprintf("127.0.0.1:%d", FreePort(t))
}

// StartBroker starts a broker on a free port, with a data directory of its own.
// It is stopped when the test ends.
func StartBroker(t testing.TB, opts ...kfake.Opt) *Broker {
	t.Helper()
	b, err := NewBroker(FreeAddr(t), t.TempDir(), opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Stop)
	return b
}

// Admin returns a client for the broker's topics and groups, which is closed at the
// end of the test.
func (b *Broker) Admin(t testing.TB) *kadm.Client {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(b.Addr()))
	if err != nil {
		t.Fatalf("connect to the broker: %v", err)
	}
	t.Cleanup(client.Close)
	return kadm.NewClient(client)
}

// CreateTopics creates topics with so many partitions each, through the
// protocol as any client does.
func (b *Broker) CreateTopics(t testing.TB, partitions int, topics ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	answers, err := b.Admin(t).CreateTopics(ctx, int32(partitions), 1, nil, topics...)
	if err == nil {
		err = answers.Error()
	}
	if err != nil {
		t.Fatalf("create topics %v: %v", topics, err)
	}
}
