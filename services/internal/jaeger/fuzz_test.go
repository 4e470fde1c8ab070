package jaeger

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
)

// FuzzTrace reads what may not be Jaeger's answer: a value of a tag has one of the types that Tag names, or there is an error.
func FuzzTrace(f *testing.F) {
	f.Add([]byte(`{"traceID":"a","spans":[{"traceID":"a","spanID":"b","processID":"p1","startTime":18446744073709551615,"tags":[
		{"key":"s","type":"string","value":"x"},{"key":"l","type":"int64","value":"9223372036854775807"},{"key":"n","type":"int64","value":-6},
		{"key":"b","type":"binary","value":"AP8="},{"key":"f","type":"float64","value":0.5},{"key":"t","type":"bool","value":true}],
		"references":[{"refType":"CHILD_OF","traceID":"a","spanID":"c"}],"logs":[{"timestamp":-1,"fields":[{"key":"e","type":"string","value":""}]}]}],
		"processes":{"p1":{"serviceName":"stream","tags":[]}}}`))
	f.Add([]byte(`{"spans":[{"processID":"p2"}],"processes":{"p1":null}}`))
	f.Add([]byte(`{"spans":[null],"processes":{"":{}}}`))
	f.Add([]byte(`{"spans":[{"tags":[null]}],"processes":{"":{"tags":[{"type":"int64","value":null}]}}}`))
	f.Fuzz(func(t *testing.T, answer []byte) {
		var trace Trace
		if json.Unmarshal(answer, &trace) != nil {
			return
		}
		for _, span := range trace.Spans {
			for _, tag := range append(span.Tags, span.Process.Tags...) {
				switch tag.Value.(type) {
				case string, bool, int64, float64, []byte, nil:
				default:
					assert.Failf(t, "unknown type", "%T", tag.Value)
				}
			}
		}
	})
}
