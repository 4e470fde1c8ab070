package deadletter

import (
	"encoding/binary"
	"strconv"
	"strings"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
)

const (
	// maxReason is how many bytes of a reason are kept.
	maxReason = 1000

	// batchOverhead is the header of a record batch, and what a record has beside
	// key, value and headers (length, attributes, two deltas, number of headers)
	// at most. https://kafka.apache.org/documentation/#recordbatch
	batchOverhead = 61 + 5 + 1 + 1 + 1 + 5

	// lengths is by how much the length fields of reason, key and value can grow
	// with what they count.
	lengths = 3 * 4
)

// draft is a letter in the form it is sent in.
type draft struct {
	key, value []byte
	own        []kafka.Header
	reason     string
	origin     []kafka.Header // where it came from and when it was set aside
	bytes      int            // of the record's key, value and headers before it was cut
	cut        bool
}

func newDraft(l Letter, own []kafka.Header) draft {
	bytes := l.CutFrom
	if bytes == 0 {
		bytes = len(l.Key) + len(l.Value)
		for _, h := range l.Headers {
			bytes += len(h.Key) + len(h.Value)
		}
	}
	at := l.Time
	if at.IsZero() {
		at = time.Now()
	}
	return draft{
		key: l.Key, value: l.Value, own: own, reason: clip(l.Reason.Error(), maxReason), bytes: bytes, cut: l.CutFrom > 0,
		origin: []kafka.Header{
			header(HeaderTopic, l.Topic),
			header(HeaderPartition, strconv.Itoa(int(l.Partition))),
			header(HeaderOffset, strconv.FormatInt(l.Offset, 10)),
			header(HeaderTime, at.UTC().Format(time.RFC3339Nano)),
		},
	}
}

// within returns the draft if it has at most limit bytes, and otherwise what fits
// into them: of reason, headers and key up to a quarter each, the headers whole or
// not at all, and of the value the rest. What tells that it was cut, and from
// where, stays whatever the limit.
func (d draft) within(limit int) draft {
	if d.size() <= limit {
		return d
	}
	cut := d
	cut.key, cut.value, cut.own, cut.reason, cut.cut = d.key[:0], d.value[:0], nil, "", true
	room := max(0, limit-cut.size()-lengths)
	quarter := room / 4
	cut.reason = clip(d.reason, quarter)
	cut.key = d.key[:min(len(d.key), quarter)]
	room -= len(cut.reason) + len(cut.key)
	headers := quarter
	for _, h := range d.own {
		if size := headerSize(h); size <= headers {
			headers -= size
			room -= size
			cut.own = append(cut.own, h)
		}
	}
	cut.value = d.value[:min(len(d.value), room)]
	return cut
}

// size is how many bytes the record batch has that is sent to the broker.
func (d draft) size() int {
	size := batchOverhead + fieldSize(len(d.key)) + fieldSize(len(d.value))
	for _, headers := range [][]kafka.Header{d.own, d.added()} {
		for _, h := range headers {
			size += headerSize(h)
		}
	}
	return size
}

// added are the headers that the record did not have.
func (d draft) added() []kafka.Header {
	added := append([]kafka.Header{header(HeaderReason, d.reason)}, d.origin...)
	if d.cut {
		added = append(added, header(HeaderTruncated, "true"), header(HeaderBytes, strconv.Itoa(d.bytes)))
	}
	return added
}

func (d draft) fill(m *kafka.Message) {
	m.Key, m.Value, m.Headers = d.key, d.value, append(d.own[:len(d.own):len(d.own)], d.added()...)
}

func header(key, value string) kafka.Header { return kafka.Header{Key: key, Value: []byte(value)} }

// clip returns at most n bytes of a text, and no half character.
func clip(text string, n int) string {
	if len(text) <= n {
		return text
	}
	return strings.ToValidUTF8(text[:n], "")
}

func headerSize(h kafka.Header) int { return fieldSize(len(h.Key)) + fieldSize(len(h.Value)) }

// fieldSize is the size of so many bytes with their length before them.
func fieldSize(n int) int {
	var length [binary.MaxVarintLen64]byte
	return binary.PutVarint(length[:], int64(n)) + n
}
