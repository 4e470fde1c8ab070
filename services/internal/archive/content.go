package archive

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/ugorji/go/codec"
)

// A segment's content is a CBOR sequence (RFC 8742), compressed by zstd with
// checksums: one head, the records in the order of their offsets, one end. A seal
// over all of it follows. `zstd -d` and any CBOR reader can read it without this
// program.
type (
	head struct {
		Format    int    `codec:"format"`
		Topic     string `codec:"topic"`
		TopicID   string `codec:"topic_id"`
		Partition int32  `codec:"partition"`
	}

	// Record is one record of the topic, as it lay there. It is written as an
	// array of its fields in this order; head and end are maps.
	Record struct {
		Offset     int64
		Timestamp  int64 // milliseconds since 1970
		Key, Value []byte
		Headers    []Header
	}

	// Header is one header of a record.
	Header struct {
		Key   string
		Value []byte
	}

	// end proves that nothing is missing.
	end struct {
		Records int `codec:"records"`
	}
)

// Time returns the record's timestamp.
func (r Record) Time() time.Time { return time.UnixMilli(r.Timestamp) }

const (
	format = 1

	// maxContent bounds what a reader takes on, compressed or not: a segment is
	// closed at 16 MiB, and librdkafka fetches no record above 100 MB.
	maxContent = 128 << 20
)

var (
	asMap   = &codec.CborHandle{}
	asArray = newArrayHandle()
)

func newArrayHandle() *codec.CborHandle {
	h := &codec.CborHandle{}
	h.StructToArray = true
	return h
}

// newEncoder returns an encoder for whole frames. It is safe for several
// goroutines.
func newEncoder() *zstd.Encoder {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderCRC(true), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(frameBytes))
	if err != nil {
		panic(err) // the options are constants
	}
	return e
}

// decode returns the records of a segment's content. It checks all of it against
// the segment's name before it returns any.
func decode(s Segment, sealed []byte) ([]Record, error) {
	content, err := unseal(sealed)
	if err != nil {
		return nil, err
	}
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxContent))
	if err != nil {
		return nil, err
	}
	defer d.Close()
	raw, err := d.DecodeAll(content, nil)
	if err != nil {
		return nil, fmt.Errorf("decompress: %w", err)
	}
	records, err := decodeItems(s.Partition, raw)
	if err != nil {
		return nil, err
	}
	return records, checkName(s, records)
}

func decodeItems(p Partition, raw []byte) ([]Record, error) {
	d := codec.NewDecoderBytes(raw, asArray)
	var h head
	if err := d.Decode(&h); err != nil {
		return nil, fmt.Errorf("read the head: %w", err)
	}
	if h.Format != format {
		return nil, fmt.Errorf("written in format %d, this program reads %d", h.Format, format)
	}
	if want := (head{format, p.Topic, p.TopicID, p.Number}); h != want {
		return nil, fmt.Errorf("records of partition %d of %s (%s), not those of its name", h.Partition, h.Topic, h.TopicID)
	}
	var records []Record
	for {
		rest := raw[d.NumBytesRead():]
		if len(rest) == 0 {
			return nil, errors.New("the end is missing")
		}
		if !isArray(rest[0]) {
			return records, decodeEnd(rest, len(records))
		}
		var r Record
		if err := d.Decode(&r); err != nil {
			return nil, fmt.Errorf("read record %d: %w", len(records), err)
		}
		records = append(records, r)
	}
}

// isArray tells by the first byte of an item; the end is a map.
func isArray(first byte) bool { return first>>5 == 4 }

func decodeEnd(rest []byte, records int) error {
	var want bytes.Buffer
	codec.NewEncoder(&want, asMap).MustEncode(end{records})
	if bytes.Equal(rest, want.Bytes()) {
		return nil
	}
	var e end
	if err := codec.NewDecoderBytes(rest, asMap).Decode(&e); err != nil {
		return fmt.Errorf("read the end: %w", err)
	}
	return fmt.Errorf("%d records where the end says %d, or something behind it", records, e.Records)
}

// checkName compares the records with what the name says of them.
func checkName(s Segment, records []Record) error {
	if len(records) == 0 {
		return errors.New("no records")
	}
	from, to := records[0].Timestamp, records[0].Timestamp
	for i, r := range records {
		if i > 0 && r.Offset <= records[i-1].Offset {
			return fmt.Errorf("offset %d behind offset %d", r.Offset, records[i-1].Offset)
		}
		from, to = min(from, r.Timestamp), max(to, r.Timestamp)
	}
	if first, last := records[0].Offset, records[len(records)-1].Offset; first != s.First || last != s.Last {
		return fmt.Errorf("offsets %d to %d, not those of its name", first, last)
	}
	if from != s.From.UnixMilli() || to != s.To.UnixMilli() {
		return fmt.Errorf("timestamps %d to %d, not those of its name", from, to)
	}
	return nil
}
