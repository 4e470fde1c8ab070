package collector

import (
	"fmt"
	"strings"

	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"
)

// Rejection is the answer of a collector that took a post, but refused some spans in it
// for good (partial_success of OTLP).
type Rejection struct {
	Spans   int64
	Message string // as one line
}

func (r *Rejection) Error() string {
	return fmt.Sprintf("partly rejected, %d span(s): %s", r.Spans, r.Message)
}

// rejection returns a Rejection if an answer of 2xx tells of one. One that it cannot read
// tells of none.
func rejection(contentType string, body []byte) error {
	answer := ptraceotlp.NewExportResponse()
	var err error
	switch {
	case strings.HasPrefix(contentType, protobuf):
		err = answer.UnmarshalProto(body)
	case strings.HasPrefix(contentType, "application/json"):
		err = answer.UnmarshalJSON(body)
	}
	if err != nil {
		answer = ptraceotlp.NewExportResponse()
	}
	partial := answer.PartialSuccess()
	if partial.RejectedSpans() <= 0 {
		return nil
	}
	return &Rejection{Spans: partial.RejectedSpans(), Message: oneLine(partial.ErrorMessage())}
}

// explanation returns what an answer other than 2xx says: the message of a
// google.rpc.Status, as OTLP has it, or its text.
func explanation(contentType string, body []byte) string {
	var status statuspb.Status
	if strings.HasPrefix(contentType, protobuf) && proto.Unmarshal(body, &status) == nil {
		return status.GetMessage()
	}
	return string(body)
}
