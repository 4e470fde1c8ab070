package archive

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
)

// The checksums inside zstd's frames leave out a few bits that change nothing. A
// seal covers every byte of an object: it is the CRC-32C of all before it, in a
// frame of its own that zstd passes over (RFC 8878, section 3.1.2).
const (
	skippable = 0x184D2A50
	sealBytes = 4 + 4 + 4 // magic number, size of what follows, the checksum
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func seal(content []byte) []byte {
	sum := crc32.Checksum(content, castagnoli)
	content = binary.LittleEndian.AppendUint32(content, skippable)
	content = binary.LittleEndian.AppendUint32(content, sealBytes-8)
	return binary.LittleEndian.AppendUint32(content, sum)
}

// unseal returns what was sealed, or an error if any bit of it has changed.
func unseal(sealed []byte) ([]byte, error) {
	if len(sealed) < sealBytes {
		return nil, errors.New("cut short")
	}
	content, frame := sealed[:len(sealed)-sealBytes], sealed[len(sealed)-sealBytes:]
	if binary.LittleEndian.Uint32(frame) != skippable || binary.LittleEndian.Uint32(frame[4:]) != sealBytes-8 {
		return nil, errors.New("cut short: there is no checksum at its end")
	}
	if binary.LittleEndian.Uint32(frame[8:]) != crc32.Checksum(content, castagnoli) {
		return nil, errors.New("changed: the checksum is another one")
	}
	return content, nil
}
