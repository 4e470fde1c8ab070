package propagation_test

import (
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"fault-tolerant-tracing/tracing/propagation"
	"fault-tolerant-tracing/tracing/tracingtest"

	"github.com/opentracing/opentracing-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/uber/jaeger-client-go"
)

func TestMain(m *testing.M) { tracingtest.VerifyMain(m) }

// traced is a tracer with a propagator, its log and its finished spans.
type traced struct {
	opentracing.Tracer
	propagator *propagation.Propagator
	log        *tracingtest.Log
	spans      *jaeger.InMemoryReporter
}

func newTraced(t testing.TB, sampled bool) traced {
	t.Helper()
	out, spans := new(tracingtest.Log), jaeger.NewInMemoryReporter()
	p := propagation.New(slog.New(slog.NewTextHandler(out, nil)))
	tracer, closer := jaeger.NewTracer("test", jaeger.NewConstSampler(sampled), p.Reporter(spans),
		jaeger.TracerOptions.Injector(opentracing.HTTPHeaders, p), jaeger.TracerOptions.Extractor(opentracing.HTTPHeaders, p))
	t.Cleanup(func() { _ = closer.Close() })
	return traced{tracer, p, out, spans}
}

// read returns the context in headers.
func (tr traced) read(headers map[string]string) (jaeger.SpanContext, error) {
	sc, err := tr.Extract(opentracing.HTTPHeaders, opentracing.TextMapCarrier(headers))
	if err != nil {
		return jaeger.SpanContext{}, err
	}
	return sc.(jaeger.SpanContext), nil
}

// finish starts and ends a span below sc, and returns the value of DroppedTag.
func (tr traced) finish(sc opentracing.SpanContext) any {
	tr.StartSpan("x", opentracing.ChildOf(sc)).Finish()
	spans := tr.spans.GetSpans()
	return spans[len(spans)-1].(*jaeger.Span).Tags()[propagation.DroppedTag]
}

// baggageOf returns the items of a context.
func baggageOf(sc jaeger.SpanContext) map[string]string {
	items := map[string]string{}
	sc.ForeachBaggageItem(func(name, value string) bool { items[name] = value; return true })
	return items
}

const context = "000000000000000a:000000000000000b:0000000000000000:1"

// full has the size that is left for the value of an item named k.
var full = strings.Repeat("x", propagation.MaxBaggageBytes-len("uberctx-k: \r\n"))

func TestWhatTravels(t *testing.T) {
	token := "!#$%&'*+-.^_`|~09az"
	many := map[string]string{}
	for i := range 1000 {
		many[fmt.Sprintf("%03d", i)] = "" // 8 + 3 + 4 bytes each
	}
	first := maps.Clone(many)
	maps.DeleteFunc(first, func(name, _ string) bool { return name >= "546" })
	tests := []struct {
		name    string
		baggage map[string]string
		travels map[string]string
		dropped propagation.Dropped
		tag     any
	}{
		{"any token", map[string]string{token: "x"}, map[string]string{token: "x"}, propagation.Dropped{}, nil},
		{"any value", map[string]string{"k": "a b\r\n\x00\xff%ü+"}, map[string]string{"k": "a b\r\n\x00\xff%ü+"}, propagation.Dropped{}, nil},
		{"as much as there is room for", map[string]string{"k": full}, map[string]string{"k": full}, propagation.Dropped{}, nil},
		{"a byte more", map[string]string{"k": full + "x"}, nil, propagation.Dropped{TooLarge: 1}, `"k"`},
		{"what is larger when encoded", map[string]string{"k": full[1:] + "\n"}, nil, propagation.Dropped{TooLarge: 1}, `"k"`},
		{"a blank in the name", map[string]string{"user id": "x", "k": "y"}, map[string]string{"k": "y"}, propagation.Dropped{InvalidName: 1}, `"user id"`},
		{"a colon", map[string]string{"a:b": "x"}, nil, propagation.Dropped{InvalidName: 1}, `"a:b"`},
		{"a line break", map[string]string{"a\r\nb": "x"}, nil, propagation.Dropped{InvalidName: 1}, `"a\r\nb"`},
		{"not ASCII", map[string]string{"größe": "x"}, nil, propagation.Dropped{InvalidName: 1}, `"größe"`},
		{"a huge name", map[string]string{strings.Repeat("n", 100_000): "x"}, nil, propagation.Dropped{TooLarge: 1}, `"` + strings.Repeat("n", 40) + `"`},
		{"what is too large leaves room", map[string]string{"a": full + "x", "k": full}, map[string]string{"k": full}, propagation.Dropped{TooLarge: 1}, `"a"`},
		{"too many", many, first, propagation.Dropped{TooLarge: 454}, `"546", "547", "548", "549", "550", and 449 more`},
		{"for both reasons", map[string]string{"user id": "x", "k": full + "x"}, nil, propagation.Dropped{InvalidName: 1, TooLarge: 1}, `"user id", "k"`},
	}
	for _, tt := range tests {
		if tt.travels == nil {
			tt.travels = map[string]string{}
		}
		t.Run("out of the process: "+tt.name, func(t *testing.T) {
			tr, written := newTraced(t, true), http.Header{}
			sc := jaeger.NewSpanContext(jaeger.TraceID{Low: 10}, 11, 0, true, tt.baggage)
			require.NoError(t, tr.Inject(sc, opentracing.HTTPHeaders, opentracing.HTTPHeadersCarrier(written)))
			assert.Equal(t, context, written.Get("uber-trace-id"))
			assert.Len(t, written, 2+len(tt.travels))
			back, err := newTraced(t, true).read(flat(written))
			require.NoError(t, err)
			assert.Equal(t, tt.travels, baggageOf(back))
			assert.Equal(t, tt.dropped, tr.propagator.Dropped())
			assert.Equal(t, tt.tag, tr.finish(sc))
		})
		t.Run("into the process: "+tt.name, func(t *testing.T) {
			tr := newTraced(t, true)
			headers := map[string]string{"uber-trace-id": context}
			for name, value := range tt.baggage {
				headers["uberctx-"+name] = strings.ReplaceAll(strings.ReplaceAll(value, "%", "%25"), "+", "%2B")
			}
			sc, err := tr.read(headers)
			require.NoError(t, err)
			assert.Equal(t, context, sc.String())
			assert.Equal(t, tt.dropped, tr.propagator.Dropped())
			assert.Equal(t, tt.tag, tr.finish(sc))

			written := http.Header{}
			require.NoError(t, tr.Inject(sc, opentracing.HTTPHeaders, opentracing.HTTPHeadersCarrier(written)))
			assert.Len(t, written, 2+len(tt.travels))
			assert.Equal(t, tt.dropped, tr.propagator.Dropped(), "dropped twice")
			got := baggageOf(sc)
			delete(got, propagation.DroppedTag)
			assert.Equal(t, tt.travels, got)
		})
	}
}

// flat has the names of h in lower case, as a carrier for Kafka would.
func flat(h http.Header) map[string]string {
	m := map[string]string{}
	for name := range h {
		m[strings.ToLower(name)] = h.Get(name)
	}
	return m
}

func TestContextsThatAreRead(t *testing.T) {
	const b = "uberctx-k"
	tests := []struct {
		name    string
		headers map[string]string
		context string // "" for none
		baggage map[string]string
	}{
		{"plain", map[string]string{"uber-trace-id": context}, context, nil},
		{"URL-encoded", map[string]string{"uber-trace-id": "a%3Ab%3A0%3A1"}, context, nil},
		{"another case of the name", map[string]string{"Uber-Trace-ID": "a:b:0:1"}, context, nil},
		{"blanks around it", map[string]string{"uber-trace-id": " \ta:b:0:1 \r\n"}, context, nil},
		{"blanks within", map[string]string{"uber-trace-id": "a: b:0:1"}, "", nil},
		{"malformed", map[string]string{"uber-trace-id": "?", b: "v"}, "", nil},
		{"empty", map[string]string{"uber-trace-id": "  "}, "", nil},
		{"trace id zero", map[string]string{"uber-trace-id": "0:b:0:1"}, "", nil},
		{"span id zero", map[string]string{"uber-trace-id": "a:0:0:1", b: "v"}, "", nil},
		{"none", map[string]string{"other": "x"}, "", nil},
		{"with baggage", map[string]string{"uber-trace-id": context, b: "v%20w"}, context, map[string]string{"k": "v w"}},
		{"baggage of broken encoding", map[string]string{"uber-trace-id": context, b: "100%"}, context, map[string]string{"k": "100%"}},
		{"baggage in another case", map[string]string{"uber-trace-id": context, "UberCtx-K": "V"}, context, map[string]string{"k": "V"}},
		{"its own note of another process", map[string]string{"uber-trace-id": context, "uberctx-" + propagation.DroppedTag: "x"}, context, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			sc, err := newTraced(t, true).read(tt.headers)
			if tt.context == "" {
				assert.Error(t, err)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, tt.context, sc.String())
			assert.Len(t, baggageOf(sc), len(tt.baggage))
			for name, value := range tt.baggage {
				assert.Equal(t, value, baggageOf(sc)[name])
			}
		})
	}
}

func TestATraceMayStartWithADebugIDAndBaggage(t *testing.T) {
	tests := []struct {
		name    string
		headers map[string]string
		debug   any
		baggage map[string]string
		tag     any
	}{
		{"debug id", map[string]string{"jaeger-debug-id": " look%20here "}, "look here", map[string]string{}, nil},
		{"baggage", map[string]string{"jaeger-baggage": "a=1, B=2,,c,=,d=4=5"}, nil, map[string]string{"a": "1", "b": "2", "": "", "d": "4=5"}, nil},
		{"baggage, URL-encoded", map[string]string{"jaeger-baggage": "a%3D1%2C%20b%3D2"}, nil, map[string]string{"a": "1", "b": "2"}, nil},
		{"both", map[string]string{"jaeger-baggage": "a=1", "jaeger-debug-id": "x"}, "x", map[string]string{"a": "1"}, nil},
		{"baggage of a trace without its id", map[string]string{"uberctx-a": "1"}, nil, map[string]string{"a": "1"}, nil},
		{"a name that cannot travel", map[string]string{"jaeger-baggage": "user id=1, b=2"}, nil, map[string]string{"b": "2", propagation.DroppedTag: `"user id"`}, `"user id"`},
		{"and nothing else", map[string]string{"jaeger-baggage": "user id=1"}, nil, map[string]string{propagation.DroppedTag: `"user id"`}, `"user id"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tr := newTraced(t, tt.debug == nil) // a debug id samples by itself
			sc, err := tr.read(tt.headers)
			require.NoError(t, err)
			assert.False(t, sc.IsValid())
			span := tr.StartSpan("x", opentracing.ChildOf(sc)).(*jaeger.Span)
			span.Finish()
			assert.Zero(t, span.SpanContext().ParentID())
			assert.Equal(t, tt.debug != nil, span.SpanContext().IsDebug())
			assert.True(t, span.SpanContext().IsSampled())
			assert.Equal(t, tt.baggage, baggageOf(span.SpanContext()))
			assert.Equal(t, tt.debug, span.Tags()["jaeger-debug-id"])
			assert.Equal(t, tt.tag, span.Tags()[propagation.DroppedTag])
		})
	}
	tr := newTraced(t, true)
	_, err := tr.read(map[string]string{"jaeger-debug-id": " ", "jaeger-baggage": "none"})
	assert.ErrorIs(t, err, opentracing.ErrSpanContextNotFound)
}

func TestBaggageThatTheProcessSetsIsNamedToo(t *testing.T) {
	tr := newTraced(t, true)
	sc, err := tr.read(map[string]string{"uber-trace-id": context, "uberctx-user id": "x"})
	require.NoError(t, err)
	span := tr.StartSpan("x", opentracing.ChildOf(sc)).(*jaeger.Span)
	for _, name := range []string{"a", "b", "c", "d"} {
		span.SetBaggageItem(name, full) // of which jaeger-client keeps 2048 bytes
	}
	require.NoError(t, tr.Inject(span.Context(), opentracing.HTTPHeaders, opentracing.TextMapCarrier{}))
	span.Finish()
	assert.Equal(t, `"user id", "d"`, span.Tags()[propagation.DroppedTag])
	assert.Equal(t, propagation.Dropped{InvalidName: 1, TooLarge: 1}, tr.propagator.Dropped())
}

func TestEachReasonIsLoggedOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := newTraced(t, true)
		drop := func(times int, name string) {
			for range times {
				_, err := tr.read(map[string]string{"uber-trace-id": context, "uberctx-" + name: full})
				require.NoError(t, err)
			}
		}
		drop(3, "user id")
		drop(2, "long")
		time.Sleep(time.Minute)
		drop(2, "user id")
		var lines []string
		for line := range strings.Lines(tr.log.String()) {
			_, line, _ = strings.Cut(strings.TrimSpace(line), " ")
			lines = append(lines, line)
		}
		assert.Equal(t, []string{
			`level=WARN msg="baggage is dropped" reason="its name is no valid name of an HTTP header" item="\"user id\"" dropped=1`,
			`level=WARN msg="baggage is dropped" reason="baggage is too large" item="\"long\"" dropped=1`,
			`level=WARN msg="baggage is dropped" reason="its name is no valid name of an HTTP header" item="\"user id\"" dropped=4`,
		}, lines)
	})
}

func TestAnythingButHeadersIsRefused(t *testing.T) {
	tr := newTraced(t, true)
	_, err := tr.Extract(opentracing.HTTPHeaders, 1)
	assert.ErrorIs(t, err, opentracing.ErrInvalidCarrier)
	assert.ErrorIs(t, tr.Inject(jaeger.SpanContext{}, opentracing.HTTPHeaders, 1), opentracing.ErrInvalidCarrier)
}

// A record of 1 MB holds this many, and they must not be kept with each span.
func TestTensOfThousandsOfItems(t *testing.T) {
	tr := newTraced(t, true)
	headers := map[string]string{"uber-trace-id": context}
	for i := range 85_000 {
		headers[fmt.Sprintf("uberctx-%d", i)] = ""
	}
	start := time.Now()
	sc, err := tr.read(headers)
	require.NoError(t, err)
	assert.Less(t, time.Since(start), 5*time.Second)
	assert.Less(t, len(baggageOf(sc)), 700)
}
