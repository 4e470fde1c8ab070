package outbox

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"os"

	"go.etcd.io/bbolt"
)

// pages checks the pages of a bbolt database before bbolt follows them: it believes
// what is written there, and goes round and round where a page leads back to itself.
// The layout is that of bbolt's file format 2.
type pages struct {
	file io.ReaderAt
	size uint64          // of each, in bytes
	end  uint64          // how many there are
	seen map[uint64]bool // each has one place in the tree
}

const (
	pageHeaderBytes = 16 // id 8, flags 2, count 2, overflow 4
	elementBytes    = 16 // in a branch: position 4, length of the key 4, page 8; in a leaf: flags 4, position 4, lengths of key and value 4 each
	branchFlag      = 1
	leafFlag        = 2
	bucketFlag      = 1 // of an element in a leaf: its value begins with the page of another tree, or 0
	bucketBytes     = 16
	freelistFlag    = 16
	manyFree        = 0xffff // count then stands before the list
	metaFreelist    = 48     // where it is in one of the first two pages
	metaTxid        = 64
)

// checkPages checks what tx will read of the file at path, and the free pages that
// are written to next.
func checkPages(path string, tx *bbolt.Tx) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	size := uint64(tx.DB().Info().PageSize)
	p := pages{file: file, size: size, end: uint64(tx.Size()) / size, seen: map[uint64]bool{}}
	if err := p.check(uint64(tx.Cursor().Bucket().Root()), nil, nil); err != nil {
		return err
	}
	return p.checkFreelist(uint64(tx.ID()))
}

// check checks the tree that begins at a page, whose keys are not below least, and
// below limit if there is one.
func (p *pages) check(id uint64, least, limit []byte) error {
	page, flags, count, err := p.read(id)
	if err != nil {
		return err
	}
	if flags != branchFlag && flags != leafFlag {
		return fmt.Errorf("%w: page %d is none of a tree", errSpoolDamaged, id)
	}
	elements := make([]element, count)
	for n := range elements {
		if elements[n], err = parseElement(page, flags, n); err != nil {
			return fmt.Errorf("%w, page %d", err, id)
		}
	}
	for n, e := range elements {
		if bytes.Compare(e.key, least) < 0 || limit != nil && bytes.Compare(e.key, limit) >= 0 {
			return fmt.Errorf("%w: the keys of page %d are not in order", errSpoolDamaged, id)
		}
		least = e.key
		if flags == leafFlag {
			least = append(bytes.Clone(e.key), 0) // the next one is above it
		}
		switch below := limit; {
		case flags == branchFlag:
			if n+1 < len(elements) {
				below = elements[n+1].key
			}
			err = p.check(e.child, e.key, below)
		case e.child != 0:
			err = p.check(e.child, nil, nil)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// checkFreelist checks the list of free pages of a transaction, after its tree.
func (p *pages) checkFreelist(txid uint64) error {
	meta := make([]byte, 2*p.size)
	if _, err := p.file.ReadAt(meta, 0); err != nil {
		return fmt.Errorf("%w: %w", errSpoolDamaged, err)
	}
	if binary.NativeEndian.Uint64(meta[metaTxid:]) != txid {
		meta = meta[p.size:] // they take turns
	}
	id := binary.NativeEndian.Uint64(meta[metaFreelist:])
	page, flags, n, err := p.read(id)
	if err != nil {
		return err
	}
	list := page[pageHeaderBytes:]
	count := uint64(n)
	if count == manyFree {
		count, list = binary.NativeEndian.Uint64(list), list[8:]
	}
	if flags != freelistFlag || count > uint64(len(list))/8 {
		return fmt.Errorf("%w: page %d is no list of free pages", errSpoolDamaged, id)
	}
	for n := range count {
		free := binary.NativeEndian.Uint64(list[8*n:])
		if free < 2 || free >= p.end || p.seen[free] {
			return fmt.Errorf("%w: page %d is not free", errSpoolDamaged, free)
		}
		p.seen[free] = true
	}
	return nil
}

// read returns a page whole, and what its header says.
func (p *pages) read(id uint64) (page []byte, flags uint16, count int, err error) {
	var header [pageHeaderBytes]byte
	if _, err := p.file.ReadAt(header[:], int64(id*p.size)); err != nil {
		return nil, 0, 0, fmt.Errorf("%w: page %d: %w", errSpoolDamaged, id, err)
	}
	flags = binary.NativeEndian.Uint16(header[8:])
	last := id + uint64(binary.NativeEndian.Uint32(header[12:]))
	if binary.NativeEndian.Uint64(header[:]) != id || last >= p.end || last < id {
		return nil, 0, 0, fmt.Errorf("%w: page %d is none", errSpoolDamaged, id)
	}
	for n := id; n <= last; n++ {
		if p.seen[n] {
			return nil, 0, 0, fmt.Errorf("%w: page %d is in two places", errSpoolDamaged, n)
		}
		p.seen[n] = true
	}
	page = make([]byte, (last-id+1)*p.size)
	if _, err := p.file.ReadAt(page, int64(id*p.size)); err != nil {
		return nil, 0, 0, fmt.Errorf("%w: page %d: %w", errSpoolDamaged, id, err)
	}
	return page, flags, int(binary.NativeEndian.Uint16(header[10:])), nil
}

// element is one of a page: a key, and the page on which others follow, or 0.
type element struct {
	key   []byte
	child uint64
}

func parseElement(page []byte, flags uint16, n int) (e element, err error) {
	at := pageHeaderBytes + n*elementBytes
	if at+elementBytes > len(page) {
		return e, fmt.Errorf("%w: too many elements", errSpoolDamaged)
	}
	var field [4]int
	for i := range field {
		field[i] = int(binary.NativeEndian.Uint32(page[at+4*i:]))
	}
	if flags == branchFlag {
		position, length := at+field[0], field[1]
		if position+length > len(page) {
			return e, fmt.Errorf("%w: an element is too long", errSpoolDamaged)
		}
		return element{page[position : position+length], binary.NativeEndian.Uint64(page[at+8:])}, nil
	}
	position, value := at+field[1], at+field[1]+field[2]
	if value+field[3] > len(page) {
		return e, fmt.Errorf("%w: an element is too long", errSpoolDamaged)
	}
	e.key = page[position:value]
	if field[0] == bucketFlag {
		if field[3] < bucketBytes {
			return e, fmt.Errorf("%w: a bucket is too short", errSpoolDamaged)
		}
		e.child = binary.NativeEndian.Uint64(page[value:])
	}
	return e, nil
}
