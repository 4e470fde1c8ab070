package service

import (
	"net"
	"net/http"
	"sync"
)

// unused knows the connections on which no request has come yet. Clients open them in advance, and [http.Server.Shutdown] would
// wait five seconds for each.
type unused struct {
	mu     sync.Mutex
	conns  map[net.Conn]bool
	closed bool
}

// changed is for [http.Server.ConnState].
func (u *unused) changed(conn net.Conn, state http.ConnState) {
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case state != http.StateNew:
		delete(u.conns, conn)
	case u.closed:
		conn.Close()
	default:
		u.conns[conn] = true
	}
}

// close closes them, and from now on new ones at once.
func (u *unused) close() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.closed = true
	for conn := range u.conns {
		conn.Close()
	}
}
