package dispatch

import (
	"errors"
	"time"
)

// ErrSkip says that there is nothing to do for a record, a null value for example.
// It is done, and that proves nothing about the endpoint.
var ErrSkip = errors.New("nothing to do")

// ErrForgotten is told of a record whose partition went to another consumer before
// it was finished.
var ErrForgotten = errors.New("not finished here: the record is left to the next owner of its partition")

// ErrGone is told of a record whose value had to be dropped from memory, and which
// was no longer on the topic when it was to be read again.
var ErrGone = errors.New("the record is no longer on the topic")

// maxRetryAfter is the longest wait that an endpoint can ask for.
const maxRetryAfter = 30 * time.Second

// verdict is an error with what follows from it. The outermost one decides, and
// adds to those it wraps.
type verdict struct {
	err         error
	permanent   bool
	split       bool
	unreachable bool
	conclusive  bool
	partial     bool
	after       time.Duration
}

func (v *verdict) Error() string { return v.err.Error() }
func (v *verdict) Unwrap() error { return v.err }

// Permanent says that what was tried can never be done. It is set aside with err as
// the reason.
func Permanent(err error) error { return &verdict{err: err, permanent: true} }

// Split says that what was tried is too much for one try: its halves are tried instead.
// A single piece is set aside.
func Split(err error) error { return &verdict{err: err, split: true} }

// Unreachable says that the endpoint was not reached, or refuses everybody: that is
// no evidence against what was tried.
func Unreachable(err error) error { return &verdict{err: err, unreachable: true} }

// Conclusive says that a second refusal settles it, if others go through.
func Conclusive(err error) error { return &verdict{err: err, conclusive: true} }

// Partial says that the endpoint took what was tried, but refused something in it for
// good. It went through; each part is set aside with err as the reason.
func Partial(err error) error { return &verdict{err: err, partial: true} }

// RetryAfter says that the endpoint asked not to be tried again before d has passed.
// At most 30 s are honoured.
func RetryAfter(err error, d time.Duration) error {
	return &verdict{err: err, after: min(d, maxRetryAfter)}
}

// IsPermanent reports whether err came from [Permanent].
func IsPermanent(err error) bool { return verdictOf(err).permanent }

// verdictOf collects what has been said about an error.
func verdictOf(err error) (all verdict) {
	for v := (*verdict)(nil); errors.As(err, &v); err = v.err {
		all.permanent = all.permanent || v.permanent
		all.split = all.split || v.split
		all.unreachable = all.unreachable || v.unreachable
		all.conclusive = all.conclusive || v.conclusive
		all.partial = all.partial || v.partial
		all.after = max(all.after, v.after)
	}
	return all
}
