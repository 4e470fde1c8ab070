package verdict

import "errors"

// ErrFull says that a [Checker] would have to keep more than it may: see [InShares].
var ErrFull = errors.New("more than may be kept at a time")

// maxHalvings is where [Checker.Most] ends: if a share so small is too much, it is one number, fed again and again, or one trace,
// and no smaller share is less.
const maxHalvings = 20

// Share is a part of all numbers, and of all traces, other ones. The zero value is all of them.
type Share struct{ index, halvings uint64 }

// InShares adds up what judge finds, which is called with one share after the other: first with all, and where it returns [ErrFull], with
// the two halves instead. It fails when judge returns another error.
func InShares(judge func(Share) (Result, error)) (total Result, err error) {
	for shares := []Share{{}}; len(shares) > 0; {
		s := shares[0]
		shares = shares[1:]
		found, err := judge(s)
		switch {
		case errors.Is(err, ErrFull):
			shares = append(shares, Share{s.index, s.halvings + 1}, Share{s.index | 1<<s.halvings, s.halvings + 1})
		case err != nil:
			return total, err
		default:
			total.add(found)
		}
	}
	return total, nil
}

// has tells whether what has this digest belongs to the share.
func (s Share) has(digest uint64) bool { return digest&(1<<s.halvings-1) == s.index }

// owns tells whether what lies on tracing-topic of a trace is judged in this share. The traces of its numbers are mostly judged in other
// ones: here, only whether they hold what the numbers must produce.
func (c *Checker) owns(traceID string) bool { return c.Share.has(digest(traceID)) }

// ofNumber tells whether a trace is that of a number in this share.
func (c *Checker) ofNumber(traceID string) bool {
	_, whole := c.whole[digest(traceID)]
	return whole || c.byID[traceID] != nil
}

// room returns ErrFull when more is kept than may be, reckoned as if all of it were open.
func (c *Checker) room() error {
	numbers := c.fed + len(c.numbers.Fed) + len(c.numbers.trails)
	spans := len(c.seen) + len(c.repeated) + len(c.aside) + len(c.dead) + len(c.strange)
	if c.Most > 0 && numbers*500+spans*100 > c.Most && c.Share.halvings < maxHalvings {
		return ErrFull
	}
	return nil
}
