package archive

import (
	"bytes"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"
)

// Content that is whole by its checksums, and that no archiver has written, gives an
// error or records: those that an archiver would write and read as they are.
func FuzzContent(f *testing.F) {
	z := newEncoder()
	unpack, err := zstd.NewReader(nil)
	require.NoError(f, err)
	f.Cleanup(unpack.Close)
	for _, n := range []int{1, 2, 9} {
		_, sealed := build(someRecords(f, n)...)
		content, err := unseal(sealed)
		require.NoError(f, err)
		raw, err := unpack.DecodeAll(content, nil)
		require.NoError(f, err)
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		records, err := decodeItems(testPartition, raw)
		if err != nil || len(records) == 0 {
			return
		}
		b := newBuilder(testPartition, z)
		for _, r := range records {
			b.add(r)
		}
		content := b.close()
		read, err := decode(b.segment, content)
		if err != nil { // they are not in order
			return
		}
		require.Equal(t, records, read)
	})
}

// Nothing that lies in the storage stops a reader: it is a segment, or broken.
func FuzzSegment(f *testing.F) {
	s, content := build(someRecords(f, 3)...)
	f.Add(s.Name(), content)
	f.Add(s.Name(), seal(nil))
	f.Add("t/i/2147483648/00000000000000000001-00000000000000000001-0-0"+suffix, content[:len(content)/2])
	f.Add("t/i/0/00000000000000000001-09223372036854775808--1-9223372036854775807"+suffix, seal(bytes.Repeat(content, 2)))
	f.Fuzz(func(t *testing.T, name string, content []byte) {
		s, err := parseName(name)
		if err != nil {
			return
		}
		require.Equal(t, name, s.Name())
		for _, sealed := range [][]byte{content, seal(bytes.Clone(content))} {
			records, err := decode(s, sealed)
			if err == nil {
				require.NoError(t, checkName(s, records))
			}
		}
	})
}
