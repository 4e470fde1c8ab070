package propagation_test

import (
	"net/http"
	"strings"
	"testing"

	"fault-tolerant-tracing/tracing/propagation"

	"github.com/opentracing/opentracing-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/uber/jaeger-client-go"
)

const (
	traceID     = "0af7651916cd43dd8448eb211c80319c"
	traceparent = "00-" + traceID + "-b7ad6b7169203331-01"
	fromW3C     = traceID + ":b7ad6b7169203331:0000000000000000:1" // the same as uber-trace-id
)

func TestTraceparentsThatAreRead(t *testing.T) {
	const ids = "-" + traceID + "-b7ad6b7169203331-"
	tests := []struct {
		name, value string
		want        string // "" for none
	}{
		{"sampled", traceparent, fromW3C},
		{"not sampled", "00" + ids + "00", traceID + ":b7ad6b7169203331:0000000000000000:0"},
		{"flags of a version to come", "00" + ids + "ff", fromW3C},
		{"such flags, not sampled", "00" + ids + "fe", traceID + ":b7ad6b7169203331:0000000000000000:0"},
		{"trace id of 64 bits", "00-0000000000000000000000000000000a-000000000000000b-01", context},
		{"blanks around it", " " + traceparent + "\t", fromW3C},
		{"a version to come", "cc" + ids + "01", fromW3C},
		{"a version to come that adds something", "cc" + ids + "01-What.Ever", fromW3C},
		{"a version to come that adds nothing", "cc" + ids + "01-", fromW3C},
		{"a version to come with longer flags", "cc" + ids + "011", ""},
		{"a version to come that adds it otherwise", "cc" + ids + "01.what", ""},
		{"version 00 with something added", "00" + ids + "01-what", ""},
		{"version 00 with nothing added", "00" + ids + "01-", ""},
		{"version ff", "ff" + ids + "01", ""},
		{"version in upper case", "CC" + ids + "01", ""},
		{"version too long", "000" + ids + "01", ""},
		{"version too short", "0" + ids + "01", ""},
		{"trace id zero", "00-00000000000000000000000000000000-b7ad6b7169203331-01", ""},
		{"span id zero", "00-" + traceID + "-0000000000000000-01", ""},
		{"trace id in upper case", "00-" + strings.ToUpper(traceID) + "-b7ad6b7169203331-01", ""},
		{"trace id too short", "00-" + traceID[1:] + "-b7ad6b7169203331-01", ""},
		{"trace id too long", "00-0" + traceID + "-b7ad6b7169203331-01", ""},
		{"no hex in it", "00-" + traceID[1:] + "g-b7ad6b7169203331-01", ""},
		{"a sign in it", "00-+" + traceID[1:] + "-b7ad6b7169203331-01", ""},
		{"span id in upper case", "00-" + traceID + "-B7AD6B7169203331-01", ""},
		{"span id too short", "00-" + traceID + "-7ad6b7169203331-01", ""},
		{"flags in upper case", "00" + ids + "0F", ""},
		{"flags too short", "00" + ids + "1", ""},
		{"flags missing", "00-" + traceID + "-b7ad6b7169203331", ""},
		{"another separator", strings.ReplaceAll(traceparent, "-", ":"), ""},
		{"URL-encoded", strings.ReplaceAll(traceparent, "-", "%2D"), ""},
		{"empty", "", ""},
		{"garbage", "\xff\x00", ""},
		{"huge", strings.Repeat(traceparent, 20_000), ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			sc, err := newTraced(t, true).read(map[string]string{"TraceParent": tt.value})
			if tt.want == "" {
				assert.ErrorIs(t, err, opentracing.ErrSpanContextNotFound)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, tt.want, sc.String())
		})
	}
}

func TestTheContextThatCounts(t *testing.T) {
	const b, malformed = "uberctx-k", "00-0-0-0"
	tests := []struct {
		name    string
		headers map[string]string
		context string // "" for none
		baggage string // item k
	}{
		{"uber-trace-id of two", map[string]string{"uber-trace-id": context, "traceparent": traceparent}, context, ""},
		{"its flags too", map[string]string{"uber-trace-id": "a:b:0:b", "traceparent": "00-0000000000000000000000000000000a-000000000000000b-00"}, strings.TrimSuffix(context, "1") + "b", ""},
		{"uber-trace-id alone", map[string]string{"uber-trace-id": context, "traceparent": malformed}, context, ""},
		{"traceparent alone", map[string]string{"traceparent": traceparent}, fromW3C, ""},
		{"traceparent with baggage", map[string]string{"traceparent": traceparent, b: "v+w"}, fromW3C, "v w"},
		{"traceparent, where uber-trace-id is malformed", map[string]string{"uber-trace-id": "?", "traceparent": traceparent, b: "v"}, fromW3C, "v"},
		{"where it is empty", map[string]string{"uber-trace-id": " ", "traceparent": traceparent}, fromW3C, ""},
		{"where its trace id is zero", map[string]string{"uber-trace-id": "0:b:0:1", "traceparent": traceparent, b: "v"}, fromW3C, "v"},
		{"where its span id is zero", map[string]string{"uber-trace-id": "a:0:0:1", "traceparent": traceparent}, fromW3C, ""},
		{"traceparent, not the debug id", map[string]string{"jaeger-debug-id": "x", "traceparent": traceparent}, fromW3C, ""},
		{"none of two malformed ones", map[string]string{"uber-trace-id": "?", "traceparent": malformed, b: "v"}, "", ""},
		{"none, by tracestate", map[string]string{"tracestate": "a=1"}, "", ""},
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
			assert.Equal(t, tt.baggage, baggageOf(sc)["k"])
		})
	}
	t.Run("a new trace for baggage beside a malformed traceparent", func(t *testing.T) {
		sc, err := newTraced(t, true).read(map[string]string{"traceparent": malformed, "tracestate": "a=1", b: "v"})
		require.NoError(t, err)
		assert.False(t, sc.IsValid())
		assert.Equal(t, "v", baggageOf(sc)["k"])
	})
	t.Run("none of several traceparents", func(t *testing.T) {
		headers := http.Header{"Traceparent": {traceparent, "00-0000000000000000000000000000000a-000000000000000b-01"}}
		_, err := newTraced(t, true).Extract(opentracing.HTTPHeaders, opentracing.HTTPHeadersCarrier(headers))
		assert.ErrorIs(t, err, opentracing.ErrSpanContextNotFound)
	})
}

func TestTraceparentsThatAreWritten(t *testing.T) {
	read := func(value string) jaeger.SpanContext {
		sc, err := jaeger.ContextFromString(value)
		require.NoError(t, err)
		return sc
	}
	tests := []struct {
		name    string
		context jaeger.SpanContext
		want    string
	}{
		{"sampled", read(fromW3C), traceparent},
		{"not sampled", read(traceID + ":b7ad6b7169203331:1:0"), strings.TrimSuffix(traceparent, "1") + "0"},
		{"debug", read(traceID + ":b7ad6b7169203331:1:3"), traceparent},
		{"firehose, not sampled", read(traceID + ":b7ad6b7169203331:1:8"), strings.TrimSuffix(traceparent, "1") + "0"},
		{"trace id of 64 bits", read("a:b:0:1"), "00-0000000000000000000000000000000a-000000000000000b-01"},
		{"largest ids", read("ffffffffffffffffffffffffffffffff:ffffffffffffffff:0:1"), "00-ffffffffffffffffffffffffffffffff-ffffffffffffffff-01"},
		{"no span", jaeger.SpanContext{}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			written := opentracing.HTTPHeadersCarrier{"Traceparent": {"stale"}, "Tracestate": {"stale"}, "Uberctx-Old": {"1"}, "Jaeger-Baggage": {"a=1"}, "Other": {"1"}}
			require.NoError(t, newTraced(t, true).Inject(tt.context, opentracing.HTTPHeaders, written))
			assert.NotContains(t, written, "Uberctx-Old")
			assert.NotContains(t, written, "Jaeger-Baggage")
			assert.Contains(t, written, "Other")
			assert.Equal(t, tt.want, http.Header(written).Get("traceparent"))
			assert.NotContains(t, written, "Tracestate")
			assert.Equal(t, tt.want != "", len(written["Traceparent"]) == 1)
		})
	}
}

func TestTracestateIsPassedOn(t *testing.T) {
	const same = "00-0000000000000000000000000000000a-0000000000000009-01" // another span of the trace in context
	member := strings.Repeat("x", 125) + "=1"
	three := member + "," + member + "," + member
	full := three + "," + member + "1" // 512 bytes
	tests := []struct {
		name    string
		headers http.Header
		want    string
	}{
		{"as it came", http.Header{"traceparent": {traceparent}, "tracestate": {"Rojo=00f067aa0ba902b7 ,\tcongo=t61rcWkgMzE,,?"}}, "Rojo=00f067aa0ba902b7 ,\tcongo=t61rcWkgMzE,,?"},
		{"of several headers", http.Header{"traceparent": {traceparent}, "tracestate": {"a=1 ", " b=2,c=3", "d=4"}}, "a=1,b=2,c=3,d=4"},
		{"beside uber-trace-id, of its trace", http.Header{"uber-trace-id": {context}, "traceparent": {same}, "tracestate": {"a=1"}}, "a=1"},
		{"not of another trace", http.Header{"uber-trace-id": {context}, "traceparent": {traceparent}, "tracestate": {"a=1"}}, ""},
		{"not without traceparent", http.Header{"uber-trace-id": {context}, "tracestate": {"a=1"}}, ""},
		{"not of a malformed one", http.Header{"uber-trace-id": {context}, "traceparent": {"00-0-0-0"}, "tracestate": {"a=1"}}, ""},
		{"not for a new trace", http.Header{"uberctx-k": {"v"}, "tracestate": {"a=1"}}, ""},
		{"empty", http.Header{"traceparent": {traceparent}, "tracestate": {" "}}, ""},
		{"as much as there is room for", http.Header{"traceparent": {traceparent}, "tracestate": {full}}, full},
		{"the first members of more", http.Header{"traceparent": {traceparent}, "tracestate": {full + ",b=2"}}, full},
		{"whole members", http.Header{"traceparent": {traceparent}, "tracestate": {full + "1,b=2"}}, three},
		{"none that is too long", http.Header{"traceparent": {traceparent}, "tracestate": {strings.Repeat("x", 100_000) + ",b=2"}}, ""},
		{"none that HTTP does not take", http.Header{"traceparent": {traceparent}, "tracestate": {"a=1\r\nb: 2"}}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tr := newTraced(t, true)
			sc, err := tr.Extract(opentracing.HTTPHeaders, opentracing.HTTPHeadersCarrier(tt.headers))
			require.NoError(t, err)
			first := tr.StartSpan("first", opentracing.ChildOf(sc))
			first.SetBaggageItem("k", "v")
			second := tr.StartSpan("second", opentracing.ChildOf(first.Context()))
			for _, span := range []opentracing.Span{first, second} {
				written := opentracing.HTTPHeadersCarrier{"Tracestate": {"stale"}}
				require.NoError(t, tr.Inject(span.Context(), opentracing.HTTPHeaders, written))
				assert.Equal(t, tt.want, http.Header(written).Get("tracestate"))
				assert.Equal(t, tt.want != "", len(written["Tracestate"]) == 1)
				span.Finish()
			}
			assert.Equal(t, map[string]string{"k": "v"}, baggageOf(second.Context().(jaeger.SpanContext)), "it is no baggage")
			assert.Equal(t, propagation.Dropped{}, tr.propagator.Dropped())
		})
	}
}
