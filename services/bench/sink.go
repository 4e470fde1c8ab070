package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"

	"fault-tolerant-tracing/tracing/batch"

	"github.com/spf13/cobra"
	"github.com/uber/jaeger-client-go/thrift"
)

// sink is a collector that only answers 202. It reads each batch and takes the
// number of its spans from where that stands in the batches of this program:
// behind a process whose size is the same for all of them.
type sink struct {
	list    int    // offset of the header of the list of spans
	header  []byte // of the field before the number, as it must be
	buffers sync.Pool

	spans, posts, bytes atomic.Int64
}

// counts is what GET / answers.
type counts struct {
	Spans int64 `json:"spans"`
	Posts int64 `json:"posts"`
	Bytes int64 `json:"bytes"`
}

func newSink() (*sink, error) {
	p, err := batch.EncodeProcess(process(0))
	if err != nil {
		return nil, err
	}
	const fieldHeader = 3 // type and id of a field
	return &sink{
		list:    fieldHeader + len(p),
		header:  []byte{thrift.LIST, 0, 2, thrift.STRUCT},
		buffers: sync.Pool{New: func() any { return new([256 << 10]byte) }},
	}, nil
}

func sinkCommand() *cobra.Command {
	var addr string
	cmd := &cobra.Command{
		Use:    "sink",
		Short:  "Answer 202 to every post",
		Hidden: true, // the benchmark starts it
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := newSink()
			if err != nil {
				return err
			}
			l, err := net.Listen("tcp", addr)
			if err != nil {
				return err
			}
			server := &http.Server{Handler: s}
			context.AfterFunc(cmd.Context(), func() { _ = server.Close() })
			if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				return err
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&addr, "addr", "", "address to listen on")
	return cmd
}

// ServeHTTP implements http.Handler.
func (s *sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet {
		_ = json.NewEncoder(w).Encode(counts{Spans: s.spans.Load(), Posts: s.posts.Load(), Bytes: s.bytes.Load()})
		return
	}
	spans, size, err := s.read(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s.spans.Add(int64(spans))
	s.posts.Add(1)
	s.bytes.Add(int64(size))
	w.WriteHeader(http.StatusAccepted)
}

// read reads a batch to its end.
func (s *sink) read(body io.Reader) (spans, size int, err error) {
	buffer := s.buffers.Get().(*[256 << 10]byte)
	defer s.buffers.Put(buffer)
	count := s.list + len(s.header)
	size, err = io.ReadAtLeast(body, buffer[:], count+4)
	if err != nil || !bytes.Equal(buffer[s.list:count], s.header) {
		return 0, 0, errors.New("not a batch of this benchmark")
	}
	spans = int(binary.BigEndian.Uint32(buffer[count:]))
	for err == nil {
		var n int
		n, err = body.Read(buffer[:])
		size += n
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return spans, size, err
}

// startSink starts the program sink, which is this one, and returns when it
// answers.
func (b *bench) startSink(ctx context.Context) (*target, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c, err := startChild("sink", b.work, nil, nil, self, "sink", "--addr", addr)
	if err != nil {
		return nil, err
	}
	if err := c.await(ctx, func(ctx context.Context) error { return dial(ctx, addr) }); err != nil {
		c.stop()
		return nil, err
	}
	return &target{child: c, url: "http://" + addr, stored: func(ctx context.Context) (int, error) {
		answer, err := get(ctx, "http://"+addr)
		if err != nil {
			return 0, err
		}
		var n counts
		if err := json.Unmarshal(answer, &n); err != nil {
			return 0, fmt.Errorf("ask the sink: %w", err)
		}
		return int(n.Spans), nil
	}}, nil
}
