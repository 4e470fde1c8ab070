package dispatch

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
)

// queueOf makes a queue of records, each given as partition and pieces: "a1 b1 a20".
func queueOf(ordered bool, records string) *queue {
	q := newQueue(ordered)
	for i, text := range strings.Fields(records) {
		q.push(queued(i, text))
	}
	return &q
}

func queued(offset int, text string) *Record {
	r := newRecord(&kafka.Message{TopicPartition: kafka.TopicPartition{Offset: kafka.Offset(offset)}}, time.Now())
	r.partition = &partition{id: int32(text[0])}
	_, _ = fmt.Sscan(text[1:], &r.Pieces)
	return r
}

func offsets(records []*Record) string {
	var s []string
	for _, r := range records {
		s = append(s, fmt.Sprint(int64(r.TopicPartition.Offset)))
	}
	return strings.Join(s, "+")
}

func TestQueueTake(t *testing.T) {
	for _, tt := range []struct {
		name    string
		ordered bool
		records string
		want    string // what is taken one after the other, at most 10 pieces and 3 records together
	}{
		{"nothing", false, "", ""},
		{"records go together, wherever they come from", false, "a1 b1 a1", "0+1+2"},
		{"as many as are allowed", false, "a1 a1 a1 a1", "0+1+2 3"},
		{"as many pieces as are allowed", false, "a6 a4 a1", "0+1 2"},
		{"one that is too large goes alone", false, "a20 a1", "0 1"},
		{"one that cannot be split counts as a piece", false, "a9 a0 a0", "0+1 2"},
		{"ordered ones go with those of their partition, and then wait", true, "a1 b1 a1 b1 a1 a1 a1", "0+2+4 1+3"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			q := queueOf(tt.ordered, tt.records)
			var got []string
			for records := q.take(3, 10, 1<<20); records != nil; records = q.take(3, 10, 1<<20) {
				got = append(got, offsets(records))
			}
			if got := strings.Join(got, " "); got != tt.want {
				t.Errorf("took %q, want %q", got, tt.want)
			}
			if !tt.ordered && (q.records != 0 || !q.empty()) {
				t.Errorf("%d records are left", q.records)
			}
		})
	}
}

func TestQueueTakesNoMoreBytesThanAllowed(t *testing.T) {
	q := queueOf(false, "a1 a1 a1")
	if got := offsets(q.take(10, 10, 2*overhead)); got != "0+1" {
		t.Errorf("took %s, want 0+1", got)
	}
}

func TestQueueTakeLast(t *testing.T) {
	for _, tt := range []struct {
		name    string
		ordered bool
		records string
		want    string
	}{
		{"nothing", false, "", ""},
		{"the latest first, one at a time", false, "a1 b1 a1", "2 1 0"},
		{"ordered ones keep their order", true, "a1 b1 b1", "1 0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			q := queueOf(tt.ordered, tt.records)
			var got []string
			for records := q.takeLast(); records != nil; records = q.takeLast() {
				got = append(got, offsets(records))
			}
			if got := strings.Join(got, " "); got != tt.want {
				t.Errorf("took %q, want %q", got, tt.want)
			}
		})
	}
}

func TestQueueFinished(t *testing.T) {
	q := queueOf(true, "a1 a1 a1 a1 a1")
	first := q.take(2, 10, 1<<20)
	q.finished(first[0])
	q.finished(first[0]) // again
	if got := q.take(2, 10, 1<<20); got != nil {
		t.Errorf("took %s while 1 is in work", offsets(got))
	}
	q.finished(first[1])
	second := q.take(2, 10, 1<<20)
	q.finished(first[1]) // again
	if got := q.take(2, 10, 1<<20); got != nil {
		t.Errorf("took %s while 2 and 3 are in work", offsets(got))
	}
	q.finished(second[1])
	q.finished(second[0])
	if got := offsets(q.take(2, 10, 1<<20)); got != "4" {
		t.Errorf("took %q, want 4", got)
	}
}

func TestQueuePutsOrderedRecordsBack(t *testing.T) {
	q := queueOf(true, "a1 a1 a1 a1 b1")
	taken := q.take(3, 10, 1<<20)
	for _, r := range taken {
		r.together = 2
	}
	q.putBack(taken)
	var got []string
	for records := q.take(9, 9, 1<<20); records != nil; records = q.take(9, 9, 1<<20) {
		got = append(got, offsets(records))
		for _, r := range records {
			q.finished(r)
		}
	}
	if got, want := strings.Join(got, " "), "4 0+1 2+3"; got != want {
		t.Errorf("took %q, want %q", got, want)
	}
}

func TestQueuePutBack(t *testing.T) {
	q := queueOf(false, "a1 a1")
	q.putBack([]*Record{queued(7, "a1"), queued(8, "b1")})
	q.putBack([]*Record{queued(9, "a1")})
	if got, want := offsets(q.take(9, 9, 1<<20)), "9+7+8+0+1"; got != want {
		t.Errorf("took %q, want %q", got, want)
	}
}

func TestQueueLeave(t *testing.T) {
	for _, ordered := range []bool{false, true} {
		q := newQueue(ordered)
		var busy *Record
		for i, text := range strings.Fields("a1 b1 a1 b1 a1") {
			r := queued(i, text)
			r.partition.leaving = text[0] == 'b'
			if q.push(r); i == 0 && ordered {
				busy = q.take(1, 1, 1<<20)[0]
			}
		}
		if got := offsets(q.leave()); got != "1+3" {
			t.Errorf("ordered %v: %q left, want 1+3", ordered, got)
		}
		if ordered {
			if got := q.take(9, 9, 1<<20); got != nil {
				t.Errorf("took %s while 0 is in work", offsets(got))
			}
			q.finished(busy)
		}
		if got := q.take(1, 9, 1<<20); got == nil || q.records != 2-len(got)+map[bool]int{false: 1}[ordered] {
			t.Errorf("ordered %v: took %s, %d records are left", ordered, offsets(got), q.records)
		}
	}
}

func TestSuspectsAreInOrderOfTheirTime(t *testing.T) {
	var s suspects
	at := time.Unix(0, 0)
	for _, after := range []int{3, 1, 2, 5, 4} {
		s.push(&attempt{due: at.Add(time.Duration(after) * time.Second)})
	}
	for want := 1; want <= 5; want++ {
		if got := s.pop().due.Sub(at); got != time.Duration(want)*time.Second {
			t.Errorf("popped the one after %v, want %d s", got, want)
		}
	}
	if s.pop() != nil {
		t.Error("popped what is not there")
	}
}
