package jaeger

import (
	"encoding/json"
	"fmt"
	"strconv"
)

// Trace is a trace as Jaeger has it.
type Trace struct {
	TraceID string
	Spans   []Span
}

// Span is one span of a Trace. Ids are hexadecimal: 16 digits, for the trace 32
// when it has 128 bits. Jaeger does not keep the flags of a span.
type Span struct {
	TraceID        string      `json:"traceID"`
	SpanID         string      `json:"spanID"`
	OperationName  string      `json:"operationName"`
	References     []Reference `json:"references"`
	StartMicros    Micros      `json:"startTime"` // since 1970
	DurationMicros Micros      `json:"duration"`
	Tags           []Tag       `json:"tags"`
	Logs           []Log       `json:"logs"`
	Process        SpanProcess `json:"-"` // what the answer's processID points at
}

// Reference types, as Reference.RefType has them.
const (
	ChildOf     = "CHILD_OF"
	FollowsFrom = "FOLLOWS_FROM"
)

// Reference names a span that caused this one.
type Reference struct {
	RefType string `json:"refType"`
	TraceID string `json:"traceID"`
	SpanID  string `json:"spanID"`
}

// Log is something that happened during a span.
type Log struct {
	TimestampMicros Micros `json:"timestamp"` // since 1970
	Fields          []Tag  `json:"fields"`
}

// Micros are microseconds. Jaeger shows those below 0 as what they are without a
// sign.
type Micros int64

// UnmarshalJSON implements json.Unmarshaler.
func (m *Micros) UnmarshalJSON(data []byte) error {
	if unsigned, err := as[uint64](data); err == nil {
		*m = Micros(unsigned)
		return nil
	}
	signed, err := as[int64](data)
	*m = Micros(signed)
	return err
}

// SpanProcess is the process that made a span.
type SpanProcess struct {
	ServiceName string `json:"serviceName"`
	Tags        []Tag  `json:"tags"`
}

// Tag is a key and its value: a string, bool, int64, float64 or []byte.
type Tag struct {
	Key   string
	Value any
}

// UnmarshalJSON gives the spans of a trace their processes, which the answer
// keeps beside them.
func (t *Trace) UnmarshalJSON(data []byte) error {
	var answer struct {
		TraceID string `json:"traceID"`
		Spans   []struct {
			Span
			ProcessID string `json:"processID"`
		} `json:"spans"`
		Processes map[string]SpanProcess `json:"processes"`
	}
	if err := json.Unmarshal(data, &answer); err != nil {
		return err
	}
	*t = Trace{TraceID: answer.TraceID, Spans: make([]Span, 0, len(answer.Spans))}
	for _, s := range answer.Spans {
		process, ok := answer.Processes[s.ProcessID]
		if !ok {
			return fmt.Errorf("span %s: no process %q in the answer", s.SpanID, s.ProcessID)
		}
		s.Process = process
		t.Spans = append(t.Spans, s.Span)
	}
	return nil
}

// UnmarshalJSON gives the value the type that is named beside it. An int64 that
// JavaScript could not hold comes as a string.
func (t *Tag) UnmarshalJSON(data []byte) error {
	var answer struct {
		Key   string          `json:"key"`
		Type  string          `json:"type"`
		Value json.RawMessage `json:"value"`
	}
	if err := json.Unmarshal(data, &answer); err != nil {
		return err
	}
	value, err := typed(answer.Type, answer.Value)
	if err != nil {
		return fmt.Errorf("tag %s: %w", answer.Key, err)
	}
	*t = Tag{Key: answer.Key, Value: value}
	return nil
}

func typed(kind string, data json.RawMessage) (any, error) {
	switch kind {
	case "string":
		return as[string](data)
	case "bool":
		return as[bool](data)
	case "float64":
		return as[float64](data)
	case "binary":
		return as[[]byte](data)
	case "int64":
		if s, err := as[string](data); err == nil {
			return strconv.ParseInt(s, 10, 64)
		}
		return as[int64](data)
	}
	return nil, fmt.Errorf("unknown type %q", kind)
}

func as[T any](data json.RawMessage) (T, error) {
	var value T
	err := json.Unmarshal(data, &value)
	return value, err
}
