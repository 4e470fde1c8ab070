package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/uber/jaeger-client-go/thrift-gen/jaeger"
)

// readableBatch is a batch for people and for programs that read JSON: names and
// units are those of the JSON that Jaeger's UI shows.
type readableBatch struct {
	Process readableProcess `json:"process"`
	SeqNo   *int64          `json:"seqNo,omitempty"`
	Stats   *readableStats  `json:"stats,omitempty"`
	Spans   []readableSpan  `json:"spans"`
}

type readableProcess struct {
	ServiceName string        `json:"serviceName"`
	Tags        []readableTag `json:"tags"`
}

type readableStats struct {
	FullQueueDropped int64 `json:"fullQueueDroppedSpans"`
	TooLargeDropped  int64 `json:"tooLargeDroppedSpans"`
	FailedToEmit     int64 `json:"failedToEmitSpans"`
}

type readableSpan struct {
	TraceID    string              `json:"traceID"`
	SpanID     string              `json:"spanID"`
	Operation  string              `json:"operationName"`
	References []readableReference `json:"references"`
	Flags      int32               `json:"flags"`
	StartTime  int64               `json:"startTime"` // microseconds since 1970
	Duration   int64               `json:"duration"`  // microseconds
	Tags       []readableTag       `json:"tags"`
	Logs       []readableLog       `json:"logs"`
}

type readableReference struct {
	Type    string `json:"refType"`
	TraceID string `json:"traceID"`
	SpanID  string `json:"spanID"`
}

type readableLog struct {
	Timestamp int64         `json:"timestamp"` // microseconds since 1970
	Fields    []readableTag `json:"fields"`
}

type readableTag struct {
	Key   string `json:"key"`
	Type  string `json:"type"`
	Value any    `json:"value"` // bytes as base64
}

func readableBatchOf(b *jaeger.Batch) readableBatch {
	out := readableBatch{Process: readableProcess{b.Process.ServiceName, readableTagsOf(b.Process.Tags)}, SeqNo: b.SeqNo, Spans: []readableSpan{}}
	if b.Stats != nil {
		out.Stats = &readableStats{b.Stats.FullQueueDroppedSpans, b.Stats.TooLargeDroppedSpans, b.Stats.FailedToEmitSpans}
	}
	for _, s := range b.Spans {
		out.Spans = append(out.Spans, readableSpanOf(s))
	}
	return out
}

func readableSpanOf(s *jaeger.Span) readableSpan {
	out := readableSpan{
		TraceID: traceID(s.TraceIdHigh, s.TraceIdLow), SpanID: spanID(s.SpanId), Operation: s.OperationName, References: []readableReference{},
		Flags: s.Flags, StartTime: s.StartTime, Duration: s.Duration, Tags: readableTagsOf(s.Tags), Logs: []readableLog{},
	}
	if s.ParentSpanId != 0 {
		out.References = append(out.References, readableReference{jaeger.SpanRefType_CHILD_OF.String(), out.TraceID, spanID(s.ParentSpanId)})
	}
	for _, r := range s.References {
		reference := readableReference{r.RefType.String(), traceID(r.TraceIdHigh, r.TraceIdLow), spanID(r.SpanId)}
		if len(out.References) == 0 || reference != out.References[0] { // clients may write the parent twice
			out.References = append(out.References, reference)
		}
	}
	for _, l := range s.Logs {
		out.Logs = append(out.Logs, readableLog{l.Timestamp, readableTagsOf(l.Fields)})
	}
	return out
}

func readableTagsOf(tags []*jaeger.Tag) []readableTag {
	readable := []readableTag{}
	for _, tag := range tags {
		out := readableTag{Key: tag.Key, Type: strings.ToLower(tag.VType.String())}
		switch tag.VType {
		case jaeger.TagType_STRING:
			out.Value = tag.GetVStr()
		case jaeger.TagType_DOUBLE:
			out.Value = number(tag.GetVDouble())
		case jaeger.TagType_BOOL:
			out.Value = tag.GetVBool()
		case jaeger.TagType_LONG:
			out.Value = tag.GetVLong()
		case jaeger.TagType_BINARY:
			out.Value = tag.GetVBinary()
		}
		readable = append(readable, out)
	}
	return readable
}

// number is v, or a word for what JSON has no number for.
func number(v float64) any {
	if v-v != 0 {
		return fmt.Sprint(v)
	}
	return v
}

func spanID(id int64) string { return fmt.Sprintf("%016x", uint64(id)) }

func traceID(high, low int64) string {
	if high == 0 {
		return spanID(low)
	}
	return spanID(high) + spanID(low)
}

// write prints the batch for people.
func (b readableBatch) write(w io.Writer) error {
	fmt.Fprintf(w, "service    %s\n", printable(b.Process.ServiceName))
	for _, tag := range b.Process.Tags {
		fmt.Fprintf(w, "           %s\n", tag)
	}
	if b.SeqNo != nil {
		fmt.Fprintf(w, "number     %d of the batches of its process\n", *b.SeqNo)
	}
	if b.Stats != nil {
		fmt.Fprintf(w, "lost       %d queue full, %d too large, %d not sent, since the process began\n", b.Stats.FullQueueDropped, b.Stats.TooLargeDropped, b.Stats.FailedToEmit)
	}
	for _, s := range b.Spans {
		if err := s.write(w); err != nil {
			return err
		}
	}
	return nil
}

func (s readableSpan) write(w io.Writer) error {
	_, err := fmt.Fprintf(w, "\n%s\n  trace %s, span %s, flags %d\n  %s, %s\n", printable(s.Operation), s.TraceID, s.SpanID, s.Flags,
		atMicros(s.StartTime), time.Duration(s.Duration)*time.Microsecond)
	for _, r := range s.References {
		fmt.Fprintf(w, "  %s trace %s, span %s\n", strings.ToLower(strings.ReplaceAll(r.Type, "_", " ")), r.TraceID, r.SpanID)
	}
	for _, tag := range s.Tags {
		fmt.Fprintf(w, "    %s\n", tag)
	}
	for _, l := range s.Logs {
		fmt.Fprintf(w, "  log %s\n", atMicros(l.Timestamp))
		for _, field := range l.Fields {
			fmt.Fprintf(w, "    %s\n", field)
		}
	}
	return err
}

func (t readableTag) String() string {
	if bytes, ok := t.Value.([]byte); ok {
		return fmt.Sprintf("%s=%x", printable(t.Key), bytes)
	}
	return printable(fmt.Sprintf("%s=%v", t.Key, t.Value))
}

func atMicros(micros int64) string {
	return time.UnixMicro(micros).Format("2006-01-02 15:04:05.000000 -0700")
}
