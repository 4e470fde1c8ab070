package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/uber/jaeger-client-go/thrift-gen/jaeger"
)

// batchView is a batch for people and for programs that read JSON: names and
// units are those of the JSON that Jaeger's UI shows.
type batchView struct {
	Process processView `json:"process"`
	SeqNo   *int64      `json:"seqNo,omitempty"`
	Stats   *statsView  `json:"stats,omitempty"`
	Spans   []spanView  `json:"spans"`
}

type processView struct {
	ServiceName string    `json:"serviceName"`
	Tags        []tagView `json:"tags"`
}

type statsView struct {
	FullQueueDropped int64 `json:"fullQueueDroppedSpans"`
	TooLargeDropped  int64 `json:"tooLargeDroppedSpans"`
	FailedToEmit     int64 `json:"failedToEmitSpans"`
}

type spanView struct {
	TraceID    string          `json:"traceID"`
	SpanID     string          `json:"spanID"`
	Operation  string          `json:"operationName"`
	References []referenceView `json:"references"`
	Flags      int32           `json:"flags"`
	StartTime  int64           `json:"startTime"` // microseconds since 1970
	Duration   int64           `json:"duration"`  // microseconds
	Tags       []tagView       `json:"tags"`
	Logs       []logView       `json:"logs"`
}

type referenceView struct {
	Type    string `json:"refType"`
	TraceID string `json:"traceID"`
	SpanID  string `json:"spanID"`
}

type logView struct {
	Timestamp int64     `json:"timestamp"` // microseconds since 1970
	Fields    []tagView `json:"fields"`
}

type tagView struct {
	Key   string `json:"key"`
	Type  string `json:"type"`
	Value any    `json:"value"` // bytes as base64
}

func viewOf(b *jaeger.Batch) batchView {
	view := batchView{Process: processView{b.Process.ServiceName, tagViews(b.Process.Tags)}, SeqNo: b.SeqNo, Spans: []spanView{}}
	if b.Stats != nil {
		view.Stats = &statsView{b.Stats.FullQueueDroppedSpans, b.Stats.TooLargeDroppedSpans, b.Stats.FailedToEmitSpans}
	}
	for _, s := range b.Spans {
		view.Spans = append(view.Spans, spanViewOf(s))
	}
	return view
}

func spanViewOf(s *jaeger.Span) spanView {
	view := spanView{
		TraceID: traceID(s.TraceIdHigh, s.TraceIdLow), SpanID: spanID(s.SpanId), Operation: s.OperationName, References: []referenceView{},
		Flags: s.Flags, StartTime: s.StartTime, Duration: s.Duration, Tags: tagViews(s.Tags), Logs: []logView{},
	}
	if s.ParentSpanId != 0 {
		view.References = append(view.References, referenceView{jaeger.SpanRefType_CHILD_OF.String(), view.TraceID, spanID(s.ParentSpanId)})
	}
	for _, r := range s.References {
		reference := referenceView{r.RefType.String(), traceID(r.TraceIdHigh, r.TraceIdLow), spanID(r.SpanId)}
		if len(view.References) == 0 || reference != view.References[0] { // clients may write the parent twice
			view.References = append(view.References, reference)
		}
	}
	for _, l := range s.Logs {
		view.Logs = append(view.Logs, logView{l.Timestamp, tagViews(l.Fields)})
	}
	return view
}

func tagViews(tags []*jaeger.Tag) []tagView {
	views := []tagView{}
	for _, tag := range tags {
		view := tagView{Key: tag.Key, Type: strings.ToLower(tag.VType.String())}
		switch tag.VType {
		case jaeger.TagType_STRING:
			view.Value = tag.GetVStr()
		case jaeger.TagType_DOUBLE:
			view.Value = number(tag.GetVDouble())
		case jaeger.TagType_BOOL:
			view.Value = tag.GetVBool()
		case jaeger.TagType_LONG:
			view.Value = tag.GetVLong()
		case jaeger.TagType_BINARY:
			view.Value = tag.GetVBinary()
		}
		views = append(views, view)
	}
	return views
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
func (b batchView) write(w io.Writer) error {
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

func (s spanView) write(w io.Writer) error {
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

func (t tagView) String() string {
	if bytes, ok := t.Value.([]byte); ok {
		return fmt.Sprintf("%s=%x", printable(t.Key), bytes)
	}
	return printable(fmt.Sprintf("%s=%v", t.Key, t.Value))
}

func atMicros(micros int64) string {
	return time.UnixMicro(micros).Format("2006-01-02 15:04:05.000000 -0700")
}
