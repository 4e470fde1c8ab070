package dispatch

import "math"

// evidence is what speaks against an attempt.
type evidence struct {
	refused   int    // tries that were refused
	isolated  int    // of these, those where another attempt that began later went through before the next try
	failedAt  uint64 // the tick of the last refusal; 0: there was none
	answered  bool   // that refusal may be the attempt's own fault
	ofSuspect bool   // it is half of one that was refused while others went through
	blamedAt  uint64 // how many had gone through when it last spoke against the endpoint all the same
}

// suspected tells whether there is any evidence.
func (e *evidence) suspected() bool { return e.isolated > 0 || e.ofSuspect }

// How sure one must be that an attempt is guilty, as the chance that an innocent one
// is refused so often in a row. A wrong split costs a few posts, a wrong letter the
// attention of a person.
const (
	doubtSplit    = 0.2
	doubtSetAside = 1e-6
)

// luck is how often an innocent attempt is refused, learned from those that went
// through in the end. A backend that answers 500 half of the time is told that way
// from a record that always draws a 500.
type luck struct{ refusals float64 }

// minRefusals is the share of refusals that is reckoned with at least. It makes 1
// refusal that is followed by another enough to split, and 8 to set aside: 0.175 < 0.2,
// 0.175⁸ < 10⁻⁶.
const minRefusals = 0.175

// luckWindow is over how many tries the share is taken, about.
const luckWindow = 32

// learn takes in an attempt that went through after so many refusals.
func (l *luck) learn(refusals int) {
	for range min(refusals, luckWindow) {
		l.refusals += (1 - l.refusals) / luckWindow
	}
	l.refusals -= l.refusals / luckWindow
}

// explains reports whether so many refusals in a row may still be bad luck.
func (l *luck) explains(refusals int, doubt float64) bool {
	return math.Pow(max(l.refusals, minRefusals), float64(refusals)) > doubt
}
