package batch

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/uber/jaeger-client-go/thrift-gen/jaeger"
)

func serialized(t testing.TB, s *jaeger.Span) []byte {
	t.Helper()
	b, err := AppendSpan(nil, s)
	require.NoError(t, err)
	return b
}

// goldenSpans are the spans of the golden batch, each serialized.
func goldenSpans(t testing.TB) (spans [][]byte) {
	t.Helper()
	value, err := os.ReadFile(filepath.Join("testdata", "batch.thrift"))
	require.NoError(t, err)
	golden, err := Decode(value)
	require.NoError(t, err)
	for _, s := range golden.Spans {
		spans = append(spans, serialized(t, s))
	}
	return spans
}

func TestWhatClientsWriteIsUsual(t *testing.T) {
	for _, span := range goldenSpans(t) {
		assert.Equal(t, len(span), usualSpan(span, 0))
		for cut := range span {
			assert.Zero(t, usualSpan(span[:cut], 0), "the first %d bytes of %d", cut, len(span))
		}
	}
}

// The fast ways accept nothing that the walker does not accept, with the same end.
func FuzzUsual(f *testing.F) {
	for _, span := range goldenSpans(f) {
		for at := range span { // its references, tags and logs too
			f.Add(span[at:])
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, way := range []struct {
			usual func([]byte, int) int
			shape *shape
		}{{usualSpan, spanShape}, {usualTag, tagShape}, {usualLog, logShape}, {usualRef, refShape}} {
			end := way.usual(b, 0)
			if end == 0 {
				continue
			}
			w := walker{b: b}
			var at fields // makes the walker walk
			require.NoError(t, w.object(way.shape, &at))
			require.Equal(t, w.pos, end)
			require.False(t, at.odd)
		}
	})
}
