package collector

import (
	"errors"
	"io"
	"net"
	"sync"
)

// post is the body of a request. net/http may go on reading it when the answer is there,
// or none is awaited any more; when the post has ended there is nothing to read.
type post struct {
	size int
	mu   sync.Mutex
	body []byte // nil: it has ended
}

func (p *post) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.body = nil
}

// reader reads the body from its beginning.
func (p *post) reader() io.ReadCloser {
	return &postReader{post: p, left: p.size}
}

type postReader struct {
	post *post
	left int
}

var errEnded = errors.New("the post has ended")

func (r *postReader) Read(b []byte) (int, error) {
	r.post.mu.Lock()
	defer r.post.mu.Unlock()
	switch {
	case r.left == 0:
		return 0, io.EOF
	case r.post.body == nil:
		return 0, errEnded
	}
	n := copy(b, r.post.body[r.post.size-r.left:])
	r.left -= n
	return n, nil
}

func (r *postReader) Close() error { return nil }

// conn writes what net/http reads of a body in larger pieces, through memory that is used
// again.
type conn struct{ net.Conn }

var pieces = sync.Pool{New: func() any { return new([128 << 10]byte) }}

// ReadFrom implements io.ReaderFrom.
func (c conn) ReadFrom(r io.Reader) (int64, error) {
	piece := pieces.Get().(*[128 << 10]byte)
	defer pieces.Put(piece)
	return io.CopyBuffer(struct{ io.Writer }{c.Conn}, r, piece[:])
}
