package tracingtest

import (
	"net"
	"sync"

	"github.com/twmb/franz-go/pkg/kfake"
)

// listener gives kfake connections that last until each request has its answer,
// though their client be gone. A member that has joined a group is given its
// session timeout with that answer, and only if its connection is there: one
// that was killed while it joined would keep its partitions for good.
type listener struct {
	net.Listener
	advertised address
}

// Addr is what kfake tells its clients.
func (l listener) Addr() net.Addr { return l.advertised }

// address is a host and port of TCP.
type address string

func (a address) Network() string { return "tcp" }
func (a address) String() string  { return string(a) }

// Advertise makes the broker on addr tell its clients that it is at advertised:
// a proxy before it, or where nobody reaches it.
func Advertise(addr, advertised string) kfake.Opt {
	// kfake binds to 127.0.0.1 only, whatever is asked for.
	return kfake.ListenFn(func(network, _ string) (net.Listener, error) {
		l, err := net.Listen(network, addr)
		return listener{l, address(advertised)}, err
	})
}

func (l listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	lasting := &conn{Conn: c}
	lasting.settled.L = &lasting.mu
	return lasting, nil
}

type conn struct {
	net.Conn

	mu      sync.Mutex
	owed    int // answers
	closed  bool
	settled sync.Cond // nothing is owed now, or it is closed
}

// sizeLen is the length of what a request begins with, its size. kfake reads
// that by itself, and writes each answer at once.
const sizeLen = 4

// Read does not tell that the client is gone while an answer is owed to it.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	if n > 0 && len(p) == sizeLen {
		c.owed++
	}
	for err != nil && c.owed > 0 && !c.closed {
		c.settled.Wait()
	}
	return n, err
}

func (c *conn) Write(p []byte) (int, error) {
	c.mu.Lock()
	c.owed-- // before its client, which has it, may ask for more
	c.settled.Broadcast()
	c.mu.Unlock()
	return c.Conn.Write(p)
}

func (c *conn) Close() error {
	c.mu.Lock()
	c.closed = true
	c.settled.Broadcast()
	c.mu.Unlock()
	return c.Conn.Close()
}
