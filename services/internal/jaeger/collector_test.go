package jaeger

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	thriftgen "github.com/uber/jaeger-client-go/thrift-gen/jaeger"
)

// What the relay decides by: the answers of the real collector.
func TestAnswersOfTheCollector(t *testing.T) {
	t.Parallel()
	p := StartForTest(t)
	good := encode(t, newBatch("stream", newSpan("good")))
	withStats := newBatch("stream", newSpan("with stats"))
	withStats.SeqNo = ptr(int64(3))
	withStats.Stats = &thriftgen.ClientStats{FullQueueDroppedSpans: 1, TooLargeDroppedSpans: 2, FailedToEmitSpans: 3}

	const thriftType = "application/x-thrift"
	tests := []struct {
		name, method, path, contentType string
		body                            []byte
		want                            int
	}{
		{"good", "POST", "", thriftType, good, 202},
		{"format in the query", "POST", "?format=jaeger.thrift", thriftType, good, 202},
		{"other name of the content type", "POST", "", "application/vnd.apache.thrift.binary", good, 202},
		{"with seqNo and stats", "POST", "", thriftType, encode(t, withStats), 202},
		{"no spans", "POST", "", thriftType, encode(t, newBatch("stream")), 202},
		{"trailing bytes", "POST", "", thriftType, append([]byte{}, append(good, "garbage"...)...), 202},
		{"no service name", "POST", "", thriftType, encode(t, newBatch("", newSpan("nameless"))), 202},
		{"no process", "POST", "", thriftType, []byte{0}, 400},
		{"cut off", "POST", "", thriftType, good[:len(good)-10], 400},
		{"garbage", "POST", "", thriftType, []byte("garbage"), 400},
		{"empty", "POST", "", thriftType, nil, 400},
		{"no content type", "POST", "", "", good, 400},
		{"wrong content type", "POST", "", "application/json", good, 400},
		// One byte above the limit: Jaeger hangs up on what it does not read, which a client may see instead of the answer.
		{"too large", "POST", "", thriftType, make([]byte, 20<<20+1), 500},
		{"slash behind the path", "POST", "/", thriftType, good, 404},
		{"wrong path", "POST", "/x", thriftType, good, 404},
		{"GET", "GET", "", "", nil, 405},
		{"PUT", "PUT", "", thriftType, good, 405},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			status, answer := send(t, tt.method, p.Endpoint()+tt.path, tt.contentType, tt.body)
			require.Equal(t, tt.want, status, strings.TrimSpace(answer))
			t.Logf("%d %s", status, strings.TrimSpace(answer))
		})
	}
}

func TestUIIsServed(t *testing.T) {
	t.Parallel()
	p := StartForTest(t)
	status, page := send(t, http.MethodGet, p.QueryURL()+"/search", "", nil)
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, page, "<title>Jaeger UI</title>")
	require.Contains(t, page, `"gitVersion":"v2.13.0"`)
	require.Contains(t, page, `"monitor":{"menuEnabled":false}`, "it has no data here")
	script := page[strings.Index(page, "./static/index-"):]
	script = script[1:strings.Index(script, `"`)]
	status, content := send(t, http.MethodGet, p.QueryURL()+script, "", nil)
	require.Equal(t, http.StatusOK, status)
	require.Greater(t, len(content), 1_000_000)
}

// A value that the store cannot index (65 000 bytes with service and key) fails
// the post, every time. The other spans of the batch are stored nevertheless.
func TestSpanWithHugeValueFailsItsBatch(t *testing.T) {
	t.Parallel()
	p := StartForTest(t)
	before, huge, behind := newSpan("before"), newSpan("huge"), newSpan("behind")
	huge.Tags = []*thriftgen.Tag{{Key: "payload", VType: thriftgen.TagType_STRING, VStr: ptr(strings.Repeat("x", 65_000))}}
	body := encode(t, newBatch("stream", before, huge, behind))
	for range 2 {
		status, _ := send(t, http.MethodPost, p.Endpoint(), "application/x-thrift", body)
		require.Equal(t, http.StatusInternalServerError, status)
	}
	q := newQuery(t, p)
	for _, tt := range []struct {
		span *thriftgen.Span
		want error
	}{{before, nil}, {huge, ErrNotFound}, {behind, nil}} {
		_, err := q.Trace(t.Context(), hexID(tt.span.TraceIdLow))
		require.ErrorIs(t, err, tt.want, tt.span.OperationName)
	}
}
