package batch

import (
	"os"
	"path/filepath"
	"slices"
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

// usualIsRight checks that the fast ways accept nothing that the walker does not
// accept, with the same end.
func usualIsRight(t *testing.T, b []byte) {
	t.Helper()
	for _, way := range []struct {
		usual func([]byte, int) int
		shape *shape
	}{{usualSpan, spanShape}, {usualTag, tagShape}, {usualLog, logShape}, {usualRef, refShape}} {
		end := way.usual(b, 0)
		if end == 0 {
			continue
		}
		w := walker{b: b}
		var at fields
		require.NoError(t, w.fields(way.shape, &at), "%x", b)
		require.Equal(t, w.pos, end, "%x", b)
	}
}

func TestUsualIsRightIfAnyByteIsAnother(t *testing.T) {
	for _, span := range goldenSpans(t) {
		for i, was := range span {
			for v := range byte(16) { // all types and ids, and sizes that cannot be
				for _, span[i] = range []byte{v, ^v} {
					usualIsRight(t, span)
				}
			}
			span[i] = was
		}
	}
}

func TestUsualIsRightIfAnyBytesAreMissing(t *testing.T) {
	for _, span := range goldenSpans(t) {
		for from := range span {
			for to := from + 1; to < len(span); to++ {
				usualIsRight(t, slices.Concat(span[:from], span[to:]))
			}
		}
	}
}

func FuzzUsual(f *testing.F) {
	for _, span := range goldenSpans(f) {
		for at := range span { // its references, tags and logs too
			f.Add(span[at:])
		}
	}
	f.Fuzz(usualIsRight)
}
