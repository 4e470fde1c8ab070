package outbox

import (
	"bytes"
	"encoding/binary"
	"encoding/gob"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"
)

const (
	minSpoolBytes = 16 << 20
	spoolSuffix   = ".spool"

	// removalBytes of a spool are only for removing records: the store writes anew
	// what it changes, and its list of free pages, before the old pages are free.
	removalBytes = 2 << 20
	growBytes    = 1 << 20 // at a time

	batchBytes = 1 << 20 // of values, written together: as much room may stay unused in the end
)

var (
	spoolBucket = []byte("records")

	errSpoolTaken   = errors.New("another process has the spool")
	errSpoolFull    = errors.New("the spool is full")
	errSpoolDamaged = errors.New("the spool is damaged")
)

// spool keeps records in a file, in order, so that they outlive the process: a bbolt
// database, which locks the file, writes all of a batch or nothing of it, and
// returns when that is on the disk. append, trim and close are for one goroutine.
type spool struct {
	db         *bbolt.DB
	maxBytes   int
	first, end uint64 // what is left has numbers from first on, below end
	broken     error  // why nothing is written any more
}

// place is where a record is in a spool. The halves of a record share it.
type place struct {
	spool *spool // nil: it is in none
	id    uint64
}

// openSpools opens the files of a directory that no other process has: the first to
// be written to, which it makes if there is none, the others only if they hold
// something. records are what they hold.
func openSpools(dir string, maxBytes int, log *slog.Logger) (spools []*spool, records []*Record, err error) {
	if maxBytes < minSpoolBytes {
		return nil, nil, fmt.Errorf("a spool of %d bytes is too small: at least %d", maxBytes, minSpoolBytes)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, nil, fmt.Errorf("make the directory of the spool: %w", err)
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, nil, fmt.Errorf("read the directory of the spool: %w", err)
	}
	for _, file := range files {
		if !strings.HasSuffix(file.Name(), spoolSuffix) {
			continue
		}
		path := filepath.Join(dir, file.Name())
		s, held, err := openSpool(path, maxBytes, log)
		switch {
		case errors.Is(err, errSpoolTaken):
		case err != nil:
			log.Error("cannot open a spool, its spans are not sent", "path", path, "err", err)
		case len(held) == 0 && len(spools) > 0:
			_ = s.close()
		default:
			spools, records = append(spools, s), append(records, held...)
		}
	}
	for n := 0; len(spools) == 0; n++ {
		s, _, err := openSpool(filepath.Join(dir, fmt.Sprint(n)+spoolSuffix), maxBytes, log)
		switch {
		case err == nil:
			spools = append(spools, s)
		case !errors.Is(err, errSpoolTaken) && !errors.Is(err, errSpoolDamaged):
			return nil, nil, err
		}
	}
	return spools, records, nil
}

// openSpool opens a file, or makes it. It returns what the file holds, and tells of
// what is damaged.
func openSpool(path string, maxBytes int, log *slog.Logger) (s *spool, records []*Record, err error) {
	s = &spool{maxBytes: maxBytes}
	damaged := 0
	err = guard(func() (err error) {
		s.db, err = bbolt.Open(path, 0o600, &bbolt.Options{Timeout: time.Nanosecond, FreelistType: bbolt.FreelistMapType})
		if err != nil {
			return err
		}
		s.db.AllocSize = growBytes
		return s.db.View(func(tx *bbolt.Tx) error {
			if err := checkPages(path, tx); err != nil {
				return err
			}
			b := tx.Bucket(spoolBucket)
			if b == nil {
				return nil
			}
			return b.ForEach(func(key, data []byte) error {
				if len(key) != keyBytes || binary.BigEndian.Uint64(key) == math.MaxUint64 {
					return fmt.Errorf("%w: %x is no number of a record", errSpoolDamaged, key)
				}
				id := binary.BigEndian.Uint64(key)
				if s.first == s.end {
					s.first = id
				}
				s.end = id + 1
				if r, err := decode(data); err == nil {
					records = append(records, &Record{Spans: r.Spans, size: len(r.Value), place: &place{s, id}})
				} else {
					damaged++
				}
				return nil
			})
		})
	})
	var system syscall.Errno
	switch {
	case err == nil:
	case errors.Is(err, bbolterrors.ErrTimeout):
		return nil, nil, errSpoolTaken
	case errors.As(err, &system):
		return nil, nil, fmt.Errorf("open the spool: %w", err)
	default:
		if s.db != nil {
			_ = s.close()
		}
		return nil, nil, fmt.Errorf("%w: %w", errSpoolDamaged, err)
	}
	if damaged > 0 {
		log.Error("a spool is damaged, some of its records are lost", "path", path, "records", damaged)
	}
	return s, records, nil
}

// append writes records behind all others. They are numbered on from the number
// that it returns.
func (s *spool) append(records []Record) (first uint64, err error) {
	s.db.MaxSize = s.maxBytes - removalBytes
	err = s.update(func(b *bbolt.Bucket) error {
		b.FillPercent = 1 // nothing will come between
		for i, r := range records {
			data, err := encode(r)
			if err != nil {
				return err
			}
			if err := b.Put(spoolKey(s.end+uint64(i)), data); err != nil {
				return err
			}
		}
		return nil
	})
	if errors.Is(err, bbolterrors.ErrMaxSizeReached) {
		err = fmt.Errorf("%w: %d bytes", errSpoolFull, s.maxBytes)
	}
	if err != nil {
		return 0, err
	}
	first = s.end
	s.end += uint64(len(records))
	return first, nil
}

// trim removes the records before a number.
func (s *spool) trim(before uint64) error {
	if before == s.first {
		return nil
	}
	s.db.MaxSize = s.maxBytes
	err := s.update(func(b *bbolt.Bucket) error {
		c := b.Cursor()
		for key, _ := c.First(); key != nil && binary.BigEndian.Uint64(key) < before; key, _ = c.First() {
			if err := c.Delete(); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		s.first = before
	}
	return err
}

func (s *spool) update(change func(*bbolt.Bucket) error) error {
	if s.broken != nil {
		return s.broken
	}
	err := guard(func() error {
		return s.db.Update(func(tx *bbolt.Tx) error {
			b, err := tx.CreateBucketIfNotExists(spoolBucket)
			if err != nil {
				return err
			}
			return change(b)
		})
	})
	if errors.Is(err, errSpoolDamaged) {
		s.broken = err // the store may hold a lock for ever
	}
	return err
}

// read returns a record as it was written. It is safe for several goroutines.
func (s *spool) read(id uint64) (r Record, err error) {
	err = guard(func() error {
		return s.db.View(func(tx *bbolt.Tx) (err error) {
			r, err = decode(tx.Bucket(spoolBucket).Get(spoolKey(id)))
			return err
		})
	})
	return r, err
}

// close leaves the file to the next process.
func (s *spool) close() error {
	if s.broken != nil {
		return s.broken
	}
	return guard(s.db.Close)
}

// guard makes an error of a panic: the store reads its file through a memory map,
// and panics, or meets a fault, where the file is damaged.
func guard(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", errSpoolDamaged, p)
		}
	}()
	return f()
}

const keyBytes = 8

func spoolKey(id uint64) []byte { return binary.BigEndian.AppendUint64(nil, id) }

// checksumBytes lead what is written of a record: the store checks only its own.
const checksumBytes = 4

func encode(r Record) ([]byte, error) {
	data := bytes.NewBuffer(make([]byte, checksumBytes))
	if err := gob.NewEncoder(data).Encode(r); err != nil {
		return nil, err
	}
	binary.BigEndian.PutUint32(data.Bytes(), crc32.ChecksumIEEE(data.Bytes()[checksumBytes:]))
	return data.Bytes(), nil
}

func decode(data []byte) (r Record, err error) {
	if len(data) < checksumBytes || binary.BigEndian.Uint32(data) != crc32.ChecksumIEEE(data[checksumBytes:]) {
		return Record{}, fmt.Errorf("%w: the checksum of a record is wrong", errSpoolDamaged)
	}
	if err := gob.NewDecoder(bytes.NewReader(data[checksumBytes:])).Decode(&r); err != nil {
		return Record{}, fmt.Errorf("%w: %w", errSpoolDamaged, err)
	}
	return r, nil
}
