package collector

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"

	"fault-tolerant-tracing/services/internal/printable"
)

// FuzzAnswer reads answers of a collector, which may be anybody: what is shown of them is one line.
func FuzzAnswer(f *testing.F) {
	answer := ptraceotlp.NewExportResponse()
	answer.PartialSuccess().SetRejectedSpans(3)
	answer.PartialSuccess().SetErrorMessage("too long\n\x1b[31m")
	encoded, err := answer.MarshalProto()
	require.NoError(f, err)
	f.Add(protobuf, encoded)
	text, err := answer.MarshalJSON()
	require.NoError(f, err)
	f.Add("application/json", text)
	f.Add("application/json; charset=utf-8", []byte(`{"partialSuccess":{"rejectedSpans":"-1","errorMessage":[1]}}`))
	status, err := proto.Marshal(&statuspb.Status{Code: 3, Message: "bad\u202e"})
	require.NoError(f, err)
	f.Add(protobuf, status)
	f.Add("text/plain", []byte("no\r\n"))
	f.Fuzz(func(t *testing.T, contentType string, body []byte) {
		var rejected *Rejection
		if err := rejection(contentType, body); errors.As(err, &rejected) {
			assert.Positive(t, rejected.Spans)
			assertOneLine(t, err.Error())
		} else {
			assert.NoError(t, err)
		}
		refusal := Refusal{Status: 400, Explanation: oneLine(explanation(contentType, body))}
		assertOneLine(t, refusal.Error())
	})
}

func assertOneLine(t *testing.T, text string) {
	t.Helper()
	var shown strings.Builder
	_, err := printable.Writer(&shown).Write([]byte(text))
	require.NoError(t, err)
	assert.Equal(t, shown.String(), text)
	assert.NotContains(t, text, "\n")
}
