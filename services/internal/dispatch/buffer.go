package dispatch

// stage is how far a record has come.
type stage int

const (
	fresh   stage = iota // not refused yet
	mixed                // refused together with others, of which most are innocent
	suspect              // refused alone, and tried again
	dead                 // to be set aside
	heavy                // large, and put off before the first try
	stages
)

// behind tells whether attempts of a stage are tried behind others, in slots of their own.
func (s stage) behind() bool { return s == suspect || s == heavy }

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
	need := b.need(a)
	if need > 0 && b.used > 0 && b.used+need > b.max {
		return false
	}
	b.hold(a)
	return true
}

// need is how much an attempt would add: nothing, if its values are held for others.
func (b *buffer) need(a *attempt) (bytes int) {
	for _, p := range a.parts {
		if p.held[b.stage] == 0 {
			bytes += p.size
		}
	}
	return bytes
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

// park puts an attempt behind those that are parked, without its values.
func (b *buffer) park(a *attempt) {
	a.stage = b.stage
	b.parked = append(b.parked, a)
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
// Their values are to be read again; other parts of the same records, not far behind,
// come along.
func (b *buffer) next(maxAttempts int) (next []*attempt) {
	window := b.parked[:min(len(b.parked), maxAttempts)]
	full, left, read := false, window[:0:0], map[*Record]bool{}
	for _, a := range window {
		if (!full || read[a.parts[0].Record] && b.need(a) == 0) && b.admit(a) {
			next = append(next, a)
			read[a.parts[0].Record] = true
		} else {
			full, left = true, append(left, a)
		}
	}
	if len(next) > 0 {
		rest := b.parked[len(window)-len(left):]
		copy(rest, left)
		clear(window[:len(next)])
		b.parked = rest
	}
	return next
}
