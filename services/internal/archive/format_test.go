package archive

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/ugorji/go/codec"
)

var testPartition = Partition{Topic: testTopic, TopicID: "AbC-_1", Number: 3}

func build(records ...Record) (Segment, []byte) {
	b := newBuilder(testPartition, newEncoder())
	for _, r := range records {
		b.add(r)
	}
	content := b.close()
	return b.segment, content
}

func someRecords(t testing.TB, n int) []Record {
	records := make([]Record, n)
	for i := range records {
		records[i] = Record{
			Offset:    int64(100 + 2*i),
			Timestamp: 1_700_000_000_000 + int64(i%7),
			Key:       fmt.Appendf(nil, "key-%d", i),
			Value:     newBatch(t, i%5),
			Headers:   []Header{{"name", fmt.Append(nil, i)}},
		}
	}
	return records
}

func TestASegmentGivesBackItsRecords(t *testing.T) {
	t.Parallel()
	records := someRecords(t, 1000)
	records[1].Key, records[1].Value, records[1].Headers = nil, nil, nil
	records[2].Key, records[2].Value = []byte{}, []byte{}
	records[3].Value = make([]byte, 3*frameBytes)
	records[4].Timestamp = -1
	s, content := build(records...)
	got, err := decode(s, content)
	require.NoError(t, err)
	require.Equal(t, records, got)
	assert.Equal(t, Segment{
		Partition: testPartition, First: 100, Last: 2098, From: time.UnixMilli(-1), To: time.UnixMilli(1_700_000_000_006), Bytes: int64(len(content)),
	}, s)
}

// The format is a promise: what is written today is read in years.
func TestTheFormatIsPlainCBOR(t *testing.T) {
	t.Parallel()
	_, content := build(Record{Offset: 7, Timestamp: 9, Value: []byte("v"), Headers: []Header{{"h", []byte("x")}}})
	d, err := zstd.NewReader(bytes.NewReader(content))
	require.NoError(t, err)
	defer d.Close()
	var raw bytes.Buffer
	_, err = raw.ReadFrom(d)
	require.NoError(t, err)
	decoder := codec.NewDecoder(&raw, &codec.CborHandle{})
	var items []any
	for range 3 {
		var item any
		require.NoError(t, decoder.Decode(&item))
		items = append(items, item)
	}
	assert.Equal(t, []any{
		map[any]any{"format": uint64(1), "topic": testTopic, "topic_id": "AbC-_1", "partition": uint64(3)},
		[]any{uint64(7), uint64(9), nil, []byte("v"), []any{[]any{"h", []byte("x")}}},
		map[any]any{"records": uint64(1)},
	}, items)
	assert.Zero(t, raw.Len())
}

func TestATruncatedSegmentIsFound(t *testing.T) {
	t.Parallel()
	s, content := build(someRecords(t, 20)...)
	for n := range content {
		_, err := decode(s, content[:n])
		require.Error(t, err, "%d of %d bytes", n, len(content))
	}
	_, err := decode(s, append(content, 0))
	require.Error(t, err)
}

// One cut where a frame of zstd ends is a whole zstd file.
func TestASegmentCutBetweenFramesIsFound(t *testing.T) {
	t.Parallel()
	records := someRecords(t, 3)
	records[1].Value = make([]byte, frameBytes)
	b := newBuilder(testPartition, newEncoder())
	b.add(records[0])
	b.add(records[1])
	cut := bytes.Clone(b.frames)
	require.NotEmpty(t, cut)
	b.add(records[2])
	content, err := unseal(b.close())
	require.NoError(t, err)
	for name, wrong := range map[string][]byte{
		"the end is missing":     cut,
		"read the head":          content[len(cut):],
		"or something behind it": append(bytes.Clone(content), cut...),
	} {
		_, err := decode(b.segment, seal(wrong))
		assert.ErrorContains(t, err, name)
	}
}

func TestABitFlippedSegmentIsFound(t *testing.T) {
	t.Parallel()
	s, content := build(someRecords(t, 20)...)
	for bit := range 8 * len(content) {
		content[bit/8] ^= 1 << (bit % 8)
		_, err := decode(s, content)
		require.Error(t, err, "bit %d", bit)
		content[bit/8] ^= 1 << (bit % 8)
	}
}

func TestASegmentThatIsNotWhatItsNameSaysIsFound(t *testing.T) {
	t.Parallel()
	s, content := build(someRecords(t, 20)...)
	for name, change := range map[string]func(*Segment){
		"topic":     func(s *Segment) { s.Topic = "other" },
		"topic id":  func(s *Segment) { s.TopicID = "other" },
		"partition": func(s *Segment) { s.Number++ },
		"first":     func(s *Segment) { s.First++ },
		"last":      func(s *Segment) { s.Last++ },
		"from":      func(s *Segment) { s.From = s.From.Add(-time.Millisecond) },
		"to":        func(s *Segment) { s.To = s.To.Add(time.Millisecond) },
	} {
		changed := s
		change(&changed)
		_, err := decode(changed, content)
		assert.ErrorContains(t, err, "name", name)
	}
}

func TestRecordsOutOfOrderAreFound(t *testing.T) {
	t.Parallel()
	records := someRecords(t, 3)
	records[1].Offset, records[2].Offset = records[2].Offset, records[1].Offset
	s, content := build(records...)
	_, err := decode(s, content)
	assert.EqualError(t, err, "offset 102 behind offset 104")
}

func TestANewerFormatIsTold(t *testing.T) {
	t.Parallel()
	b := newBuilder(testPartition, newEncoder())
	b.chunk.Reset()
	b.encodeMap(head{format + 1, testTopic, "AbC-_1", 3})
	b.add(someRecords(t, 1)[0])
	_, err := decode(b.segment, b.close())
	assert.EqualError(t, err, "written in format 2, this program reads 1")
}

func TestASegmentCanBeCutBackToAnOffset(t *testing.T) {
	t.Parallel()
	records := someRecords(t, 10)
	for last, want := range map[int64][]Record{99: nil, 100: records[:1], 101: records[:1], 110: records[:6], 118: records, 500: records} {
		b := newBuilder(testPartition, newEncoder())
		for _, r := range records {
			b.add(r)
		}
		shorter, err := b.upTo(last)
		require.NoError(t, err)
		if want == nil {
			assert.Nil(t, shorter)
			continue
		}
		content := shorter.close()
		got, err := decode(shorter.segment, content)
		require.NoError(t, err)
		assert.Equal(t, want, got, "up to %d", last)
	}
}

func TestNamesOfSegments(t *testing.T) {
	t.Parallel()
	s := Segment{Partition: testPartition, First: 7, Last: 12_345, From: time.UnixMilli(-1), To: time.UnixMilli(1_700_000_000_000)}
	name := "tracing-topic/AbC-_1/3/00000000000000000007-00000000000000012345--1-1700000000000.cbor.zst"
	assert.Equal(t, name, s.Name())
	parsed, err := parseName(name)
	require.NoError(t, err)
	assert.Equal(t, s, parsed)
	for _, wrong := range []string{
		"", "x", name + ".tmp", "a/" + name,
		"t/i/0/00000000000000000007-00000000000000000006-1-2.cbor.zst",  // ends before it begins
		"t/i/0/00000000000000000007-00000000000000000008-2-1.cbor.zst",  // likewise
		"t/i/00/00000000000000000007-00000000000000000008-1-2.cbor.zst", // not as Name writes it
		"t/i/0/7-8-1-2.cbor.zst",
		"t/i/0/00000000000000000007-99999999999999999999-1-2.cbor.zst",
		"t/i/4294967296/00000000000000000007-00000000000000000008-1-2.cbor.zst",
	} {
		_, err := parseName(wrong)
		assert.Error(t, err, wrong)
	}
}
