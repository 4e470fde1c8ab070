package dispatch

// batching says how many records are tried together for the first time: as many as may
// be while all goes well, and fewer where bad ones are among them, since a bad one has
// the others of its attempt tried again in halves.
type batching struct {
	records, max int
	passes       int // in a row, of so many records
}

// passesToGrow in a row are needed for more records. Where a third of them is bad, single ones
// pass so often in a row once in 25 times, so that two seldom travel together.
const passesToGrow = 8

// newBatching has at most so many tried together; 0: any number.
func newBatching(limit int) batching {
	if limit == 0 {
		limit = freshRecords
	}
	return batching{records: limit, max: limit}
}

// pass takes in a first try of so many records that went through.
func (b *batching) pass(records int) {
	if records < b.records {
		return
	}
	if b.passes++; b.passes == passesToGrow {
		b.records, b.passes = min(b.records*2, b.max), 0
	}
}

// refuse takes in a first try that was refused.
func (b *batching) refuse() { b.passes = 0 }

// split takes in that so many records, which had been tried together, were split. It may
// raise the number again, if they were together before it fell: that keeps groups from
// staying small where an outage is what spoke against them.
func (b *batching) split(records int) { b.records, b.passes = max(records/2, 1), 0 }
