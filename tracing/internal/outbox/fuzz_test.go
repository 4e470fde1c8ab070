package outbox

import (
	"encoding/binary"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzSpool changes bytes of a spool's file, as a disk does that goes bad: what can
// be read is what was written, and the process goes on with this spool or another.
// Of data each four bytes change one: three say where it is, the last to what.
func FuzzSpool(f *testing.F) {
	log := slog.New(slog.DiscardHandler)
	dir := f.TempDir()
	spools, _, err := openSpools(dir, minSpoolBytes, log)
	require.NoError(f, err)
	written := map[string]bool{}
	var records []Record
	for n := range 40 { // more than a page holds
		text := strings.Repeat(strconv.Itoa(n), 200)
		written[text] = true
		records = append(records, Record{Key: []byte("key"), Value: []byte(text), Spans: len(text)})
	}
	_, err = spools[0].append(records)
	require.NoError(f, err)
	require.NoError(f, spools[0].close())
	whole, err := os.ReadFile(filepath.Join(dir, "0"+spoolSuffix))
	require.NoError(f, err)

	f.Add([]byte{})
	for at := 0; at < len(whole); at += 4096 { // the head of a page
		for _, field := range []int{0, 8, 10, 12, 15, 16, 20, 24, 28, 32} {
			f.Add(binary.BigEndian.AppendUint32(nil, uint32(at+field)<<8|0xff))
			f.Add(binary.BigEndian.AppendUint32(nil, uint32(at+field)<<8|2))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := t.TempDir()
		file := append([]byte{}, whole...)
		for ; len(data) >= 4; data = data[4:] {
			change := binary.BigEndian.Uint32(data)
			file[int(change>>8)%len(file)] = byte(change)
		}
		require.NoError(t, os.WriteFile(filepath.Join(dir, "0"+spoolSuffix), file, 0o600))
		spools, held, err := openSpools(dir, minSpoolBytes, log)
		require.NoError(t, err)
		for _, r := range held {
			if whole, err := r.place.spool.read(r.place.id); err == nil && !written[string(whole.Value)] {
				t.Errorf("%q was never written", whole.Value)
			}
		}
		first, err := spools[0].append([]Record{{Value: []byte("new"), Spans: 1}})
		if err == nil {
			if r, err := spools[0].read(first); err != nil || string(r.Value) != "new" {
				t.Errorf("%q (%v) is read where \"new\" was written", r.Value, err)
			}
		}
		_ = spools[0].trim(spools[0].end)
		for _, s := range spools {
			_ = s.close()
		}
	})
}
