package dispatch

import (
	"log/slog"
	"testing"
	"time"
)

// Where every other try fails, one that fails a dozen times in a row may be unlucky.
func TestLuckIsLearnedFromWhatGoesThroughInTheEnd(t *testing.T) {
	d := New(Config{InFlight: 1, Log: slog.New(slog.DiscardHandler)})
	const dozen = 12
	if d.luck.explains(dozen, doubtSetAside) {
		t.Error("a dozen refusals are bad luck where nothing else was refused")
	}
	for range 10 * luckWindow {
		d.pass(&attempt{evidence: evidence{isolated: 1}}, time.Now())
	}
	if !d.luck.explains(dozen, doubtSetAside) {
		t.Error("a dozen refusals are no bad luck where every other try was refused")
	}
}
