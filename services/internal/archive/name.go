package archive

import (
	"fmt"
	"path"
	"regexp"
	"strconv"
	"time"
)

// Partition is where records come from: a partition of a topic. A topic that is
// deleted and made anew has another id, and its offsets start again.
type Partition struct {
	Topic   string
	TopicID string // as Kafka's tools print it
	Number  int32
}

// dir returns what the names of the partition's segments begin with.
func (p Partition) dir() string { return fmt.Sprintf("%s/%s/%d/", p.Topic, p.TopicID, p.Number) }

// Segment is what the name of an object says: which records it has. Listing the
// names is all it takes to find those of a time.
type Segment struct {
	Partition
	First, Last int64     // offsets
	From, To    time.Time // the earliest and the latest timestamp, in milliseconds
	Bytes       int64     // size of the object
}

const suffix = ".cbor.zst"

// Name returns the name of the object: its partition, and in the order of the
// offsets.
func (s Segment) Name() string {
	return fmt.Sprintf("%s%s-%s-%d-%d%s", s.dir(), offsetName(s.First), offsetName(s.Last), s.From.UnixMilli(), s.To.UnixMilli(), suffix)
}

// offsetName writes an offset so that names are in the order of the offsets.
func offsetName(offset int64) string { return fmt.Sprintf("%020d", offset) }

var namePattern = regexp.MustCompile(`^([^/]+)/([^/]+)/(\d+)/(\d{20})-(\d{20})-(-?\d+)-(-?\d+)` + regexp.QuoteMeta(suffix) + `$`)

// parseName is the opposite of Name. It fails for whatever Name would not write.
func parseName(name string) (Segment, error) {
	wrong := fmt.Errorf("%s: not the name of a segment", path.Base(name))
	m := namePattern.FindStringSubmatch(name)
	if m == nil {
		return Segment{}, wrong
	}
	var numbers [5]int64
	for i, text := range m[3:] {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return Segment{}, wrong
		}
		numbers[i] = n
	}
	s := Segment{
		Partition: Partition{Topic: m[1], TopicID: m[2], Number: int32(numbers[0])},
		First:     numbers[1],
		Last:      numbers[2],
		From:      time.UnixMilli(numbers[3]),
		To:        time.UnixMilli(numbers[4]),
	}
	if s.Name() != name || s.Last < s.First || s.To.Before(s.From) {
		return Segment{}, wrong
	}
	return s, nil
}
