package verdict

import (
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	thrift "github.com/uber/jaeger-client-go/thrift-gen/jaeger"
)

// Whatever is wrong, it is found and counted once, in as many shares as it takes.
func TestSharesAddUpToTheWhole(t *testing.T) {
	t.Parallel()
	r := start(t)
	for n := int64(1); n <= 100; n++ {
		absent := never
		if n > 97 {
			absent = of("stream") // not in Jaeger
		}
		r.number(t, n, "first", never, absent)
	}
	aside := r.records[len(r.records)-1] // in Jaeger all the same
	r.number(t, 950, "first", of("random"), never)
	r.number(t, 900, "first", never, of("answer"))
	r.records = append(r.records,
		&kgo.Record{Topic: numberTopic, Value: []byte("902")}, // on its way
		&kgo.Record{Topic: tracingTopic, Value: []byte("poison")},
		&kgo.Record{Topic: deadTopic, Value: r.records[len(r.records)-1].Value},
		&kgo.Record{Topic: tracingTopic, Value: aside.Value},
		&kgo.Record{Topic: deadTopic, Value: aside.Value},
	)
	r.number(t, 1000, "second", never, never)
	for n := range int64(20) {
		other := onTopic(t, "topic-config", "only", &thrift.Span{TraceIdLow: n + 1, SpanId: 1, OperationName: "of no number", StartTime: 5})
		r.records = append(r.records, other)
		r.store(t, other)
	}
	r.stored["1"][0].Start = 6
	r.stored["102"][0].Start = 6 // of number 2
	r.stored["101"] = append(r.stored["101"], r.stored["101"][0])
	whole := r.check(t)
	assert.Equal(t, "traces 98/103, spans 568/577, lost 9, duplicated 2", whole.String())
	assert.Equal(t, 1, whole.NotSent)
	assert.Equal(t, 2, whole.TopicDiffer)

	shares := 0
	got, err := InShares(func(s Share) (Result, error) {
		c := r.checker()
		c.Share, c.Most = s, 10_000
		result, err := c.Check(t.Context())
		if err == nil {
			shares++
			assert.NotZero(t, result.TopicSpans)
			assert.Less(t, result.NumbersFed, 25)
		}
		return result, err
	})
	require.NoError(t, err)
	assert.Greater(t, shares, 4)
	assert.ElementsMatch(t, whole.Problems, got.Problems)
	whole.Example, whole.Problems, got.Example, got.Problems = "", nil, "", nil
	assert.Equal(t, whole, got)
}

func TestAShareWithoutNumbersIsNoneThatIsMissing(t *testing.T) {
	assert.True(t, Result{part: true}.Complete())
	var total Result
	total.add(Result{part: true})
	assert.False(t, total.Complete())
}

func TestOneNumberFedAgainAndAgainIsJudgedAtLast(t *testing.T) {
	judged := 0
	_, err := InShares(func(s Share) (Result, error) {
		c := New(nil, nil, nil)
		c.Share, c.Most = s, 10_000
		c.numbers.share = s
		for range 100 {
			c.numbers.add(&kgo.Record{Topic: numberTopic, Value: []byte("6")})
		}
		judged += len(c.numbers.Fed)
		return Result{}, c.room()
	})
	require.NoError(t, err)
	assert.Equal(t, 100*(maxHalvings+1), judged)
}

// What is kept for each number, at most, and what comes of it in shares.
func BenchmarkMemory(b *testing.B) {
	for _, most := range []int{0, 48 << 20} {
		for _, numbers := range []int64{100_000, 200_000} {
			b.Run(fmt.Sprintf("most=%d/numbers=%d", most, numbers), func(b *testing.B) {
				for b.Loop() {
					highest, shares := uint64(0), 0
					base := live()
					total, err := InShares(func(s Share) (Result, error) {
						c := New(nil, nil, nil)
						c.Share, c.numbers.share, c.Most = s, s, most
						err := feed(c, numbers, func() { highest = max(highest, live()-base) })
						if err != nil {
							return Result{}, err
						}
						shares++
						return c.result(), nil
					})
					require.NoError(b, err)
					require.Equal(b, int(numbers), total.Traces)
					b.ReportMetric(float64(highest)/(1<<20), "MiB")
					b.ReportMetric(float64(shares), "shares")
				}
			})
		}
	}
}

// live is what is in use.
func live() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// feed has numbers and then their spans read as Check does, which are all in Jaeger.
func feed(c *Checker, numbers int64, look func()) error {
	for _, topic := range []string{numberTopic, evenTopic, oddTopic, answerTopic} {
		for n := range numbers {
			value := strconv.FormatInt(n, 10)
			switch {
			case topic == evenTopic && n%2 != 0, topic == oddTopic && n%2 == 0, topic == answerTopic && n%2 != 0:
				continue
			case topic == answerTopic:
				value = `{"number":` + value + `}`
			}
			header := kgo.RecordHeader{Key: "uber-trace-id", Value: []byte(strconv.FormatInt(n+1, 16) + ":1:0:1")}
			c.numbers.add(&kgo.Record{Topic: topic, Value: []byte(value), Headers: []kgo.RecordHeader{header}})
			if err := c.room(); err != nil {
				return err
			}
		}
		look()
	}
	c.follow()
	look()
	for n := range numbers {
		id := strconv.FormatInt(n+1, 16)
		spans := whole(n, id)
		for _, s := range spans {
			c.span(s, 0)
		}
		if err := c.room(); err != nil {
			return err
		}
		if t := c.byID[id]; t != nil {
			c.compare(t, slices.Clone(spans))
		}
		if n == numbers/2 {
			look()
		}
	}
	look()
	c.tidy()
	return nil
}
