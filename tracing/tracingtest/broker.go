// Package tracingtest gives tests and the demo a Kafka broker inside the
// process, and a reader of topics and spans that shares no code with the
// clients under test.
//
// The broker is kfake of franz-go: it speaks the protocol of a real one to any
// client, creates no topic on its own, and with a data directory keeps topics,
// records, groups, offsets and producer state while it is stopped. When its
// process is killed it keeps topics, records and committed offsets: members
// join their groups anew, a record that was on its way may be written twice, as
// the state of its producer is gone, and deleted records may be back.
package tracingtest

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
)

// Broker is a Kafka cluster of one broker that can be stopped and started
// again on its address. Its methods are safe for several goroutines.
type Broker struct {
	addr    string
	dataDir string
	opts    []kfake.Opt

	mu      sync.Mutex
	cluster *kfake.Cluster // nil while stopped
}

// NewBroker starts a broker on addr ("127.0.0.1:9092"), which is also the
// address it tells its clients. What it holds lies in dataDir, which is made if
// needed; two brokers must not share one. With dataDir "" it lies in memory,
// and a stop forgets it. opts add to the broker's settings. It fails when the
// address is taken or the data cannot be read. The caller stops it.
func NewBroker(addr, dataDir string, opts ...kfake.Opt) (*Broker, error) {
	b := &Broker{addr: addr, dataDir: dataDir}
	b.opts = append(b.opts, kfake.NumBrokers(1), Advertise(addr, addr))
	if dataDir != "" {
		b.opts = append(b.opts, kfake.DataDir(dataDir))
	}
	b.opts = append(b.opts, opts...)
	if err := b.Start(); err != nil {
		return nil, err
	}
	return b, nil
}

// Addr returns the address, host and port, whether the broker runs or not.
func (b *Broker) Addr() string { return b.addr }

// Cluster returns the running cluster, for kfake's fault injection and
// inspection. It is nil while the broker is stopped, and another one after each
// start; injected faults go with the old one.
func (b *Broker) Cluster() *kfake.Cluster {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.cluster
}

// Stop closes the listener and all connections, as a broker that goes away, and
// returns when the data is on disk. Stopping a stopped broker does nothing.
func (b *Broker) Stop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.cluster != nil {
		b.cluster.Close()
		b.cluster = nil
		awaitUnbound(b.addr)
	}
}

// Start starts a stopped broker on its address with the data that lies in its
// directory. Starting a running broker does nothing.
func (b *Broker) Start() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.cluster != nil {
		return nil
	}
	c, err := kfake.NewCluster(b.opts...)
	if err != nil {
		return fmt.Errorf("start broker on %s: %w", b.addr, err)
	}
	b.cluster = c
	return b.forgetSequences()
}

// forgetSequences removes what the running cluster has read and will write anew
// when it is stopped: the sequence numbers of producers. If it is killed, the
// next one would take the old ones for what is so, and refuse records of each
// producer that has written since.
func (b *Broker) forgetSequences() error {
	if b.dataDir == "" {
		return nil
	}
	err := os.Remove(filepath.Join(b.dataDir, "seq_windows.json"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("start broker on %s: %w", b.addr, err)
	}
	return nil
}

// awaitUnbound returns when nothing listens on addr any more, a second later at
// the latest. Closing a listener is not enough where the process starts others:
// a child holds a copy of it until its own program runs.
func awaitUnbound(addr string) {
	for deadline := time.Now().Add(time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			return
		}
		_ = conn.Close()
	}
}
