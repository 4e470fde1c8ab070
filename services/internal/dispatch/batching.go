package dispatch

// batching says how many records are tried together for the first time: as many as may
// be while all goes well, and fewer where bad ones are among them, since a bad one has
// the others of its attempt tried again in halves.
type batching struct{ records, max int }

// newBatching has at most so many tried together; 0: any number.
func newBatching(limit int) batching {
	if limit == 0 {
		limit = freshRecords
	}
	return batching{limit, limit}
}

// pass takes in a first try of so many records that went through.
func (b *batching) pass(records int) {
	if records >= b.records {
		b.records = min(b.records*2, b.max)
	}
}

// split takes in that so many records, which had been tried together, were split.
func (b *batching) split(records int) { b.records = max(records/2, 1) }
