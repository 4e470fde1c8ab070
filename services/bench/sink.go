package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"

	"fault-tolerant-tracing/tracing/batch"

	"github.com/spf13/cobra"
	"github.com/uber/jaeger-client-go/thrift"
	"google.golang.org/protobuf/encoding/protowire"
)

// sink is a collector that only answers 202. Of a batch of jaeger.thrift it takes the
// number of spans from where that stands in the batches of this program: behind a process
// whose size is the same for all of them. Those of OTLP it counts, and looks at nothing
// else.
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
		buffers: sync.Pool{New: func() any { return new(bytes.Buffer) }},
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
	spans, size, err := s.read(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s.spans.Add(int64(spans))
	s.posts.Add(1)
	s.bytes.Add(int64(size))
	w.WriteHeader(http.StatusAccepted)
}

// read reads a post to its end.
func (s *sink) read(r *http.Request) (spans, size int, err error) {
	buffer := s.buffers.Get().(*bytes.Buffer)
	defer s.buffers.Put(buffer)
	buffer.Reset()
	if _, err := buffer.ReadFrom(r.Body); err != nil {
		return 0, 0, err
	}
	body := buffer.Bytes()
	if r.URL.Path == "/v1/traces" {
		spans, err := countOTLP(body, 1, 2, 2) // a request's resources, their scopes, their spans
		return spans, len(body), err
	}
	count := s.list + len(s.header)
	if len(body) < count+4 || !bytes.Equal(body[s.list:count], s.header) {
		return 0, 0, errors.New("not a batch of this benchmark")
	}
	return int(binary.BigEndian.Uint32(body[count:])), len(body), nil
}

// countOTLP counts the fields of a message with the last of these numbers, in those with
// the numbers before it.
func countOTLP(message []byte, numbers ...protowire.Number) (n int, err error) {
	for len(message) > 0 {
		number, typ, head := protowire.ConsumeTag(message)
		if head < 0 {
			return 0, protowire.ParseError(head)
		}
		size := protowire.ConsumeFieldValue(number, typ, message[head:])
		if size < 0 {
			return 0, protowire.ParseError(size)
		}
		if number == numbers[0] && len(numbers) == 1 {
			n++
		} else if number == numbers[0] {
			inner, _ := protowire.ConsumeBytes(message[head:])
			more, err := countOTLP(inner, numbers[1:]...)
			if err != nil {
				return 0, err
			}
			n += more
		}
		message = message[head+size:]
	}
	return n, nil
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
	return &target{child: c, urls: addrs{addr, addr}.urls(), stored: func(ctx context.Context) (int, error) {
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
