package dispatch

// stage is how far a record has come.
type stage int

const (
	fresh   stage = iota // not refused yet
	mixed                // refused together with others, of which most are innocent
	suspect              // refused alone, and tried again
	dead                 // to be set aside
	stages
)

// buffer bounds the values that one stage holds in memory. Those that find no room
// are parked: what is left of them is a few numbers, until there is room to read
// them again. So no stage can take the room of another.
type buffer struct {
	stage  stage
	max    int
	used   int
	parked []*attempt
}

// admit holds the values of an attempt if there is room for them. One that is
// larger than the whole buffer has room when nothing else is there.
func (b *buffer) admit(a *attempt) bool {
	need := 0
	for _, p := range a.parts {
		if p.held[b.stage] == 0 {
			need += p.size
		}
	}
	if b.used > 0 && b.used+need > b.max {
		return false
	}
	b.hold(a)
	return true
}

// hold counts the values of an attempt, room or not.
func (b *buffer) hold(a *attempt) {
	a.stage = b.stage
	for _, p := range a.parts {
		if p.held[b.stage]++; p.held[b.stage] == 1 {
			b.used += p.size
		}
	}
}

// release gives the room of an attempt back. A value that no stage holds is dropped.
func (b *buffer) release(a *attempt) {
	for _, p := range a.parts {
		if p.held[b.stage]--; p.held[b.stage] == 0 {
			b.used -= p.size
		}
		if p.held == [stages]int{} {
			p.drop()
		}
	}
}

// next takes parked attempts out, as many as there is room for, and holds their room.
// Their values are to be read again.
func (b *buffer) next(maxAttempts int) (next []*attempt) {
	for len(b.parked) > 0 && len(next) < maxAttempts && b.admit(b.parked[0]) {
		next = append(next, b.parked[0])
		b.parked[0], b.parked = nil, b.parked[1:]
	}
	return next
}
