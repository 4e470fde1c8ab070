package outbox

import (
	"log/slog"
	"strings"
	"testing"

	"fault-tolerant-tracing/tracing/numbering"
	"fault-tolerant-tracing/tracing/tracingtest"

	"github.com/stretchr/testify/assert"
)

func TestABurstOfLossesIsLoggedTwice(t *testing.T) {
	var log tracingtest.Log
	tally := NewTally(slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{ReplaceAttr: withoutTime})))
	tally.Report()
	tally.FailedToEmit(0, "a record without spans")
	tally.FullQueue(1, "first")
	tally.TooLarge(2, "second")
	tally.Report()
	tally.FailedToEmit(3, "third")
	for range 3 {
		tally.Report()
	}
	tally.FailedToEmit(4, "fourth")
	tally.Finish()
	tally.Finish()
	assert.Equal(t, numbering.Losses{FullQueue: 1, TooLarge: 2, FailedToEmit: 7}, tally.Losses())
	assert.Equal(t, []string{
		`level=WARN msg="losing spans" reason=first`,
		`level=WARN msg="lost spans" full_queue=1 too_large=2 failed_to_emit=3`,
		`level=WARN msg="losing spans" reason=fourth`,
		`level=WARN msg="lost spans" full_queue=0 too_large=0 failed_to_emit=4`,
	}, strings.Split(strings.TrimSpace(log.String()), "\n"))
}

func withoutTime(_ []string, a slog.Attr) slog.Attr {
	if a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}
