package archive

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fault-tolerant-tracing/services/internal/payload"
	"fault-tolerant-tracing/services/internal/replay"
)

// fill puts a segment with these offsets into the archive. A record's time in
// milliseconds is its offset.
func fill(t *testing.T, a *Archive, p Partition, first, last int64) string {
	t.Helper()
	b := newBuilder(p, newEncoder())
	for offset := first; offset <= last; offset++ {
		b.add(Record{Offset: offset, Timestamp: offset, Value: newBatch(t, 3)})
	}
	content := b.close()
	require.NoError(t, a.put(t.Context(), b.segment.Name(), content))
	return b.segment.Name()
}

func offsets(t *testing.T, source replay.Source) (list []int64) {
	t.Helper()
	require.NoError(t, source.Read(t.Context(), func(r replay.Record) error {
		list = append(list, r.Offset)
		return nil
	}))
	return list
}

func TestRecordsOfATimeAreReadOnceEach(t *testing.T) {
	t.Parallel()
	a := memory(t)
	p := Partition{testTopic, "id", 0}
	fill(t, a, p, 0, 9)
	fill(t, a, p, 5, 14) // two archivers for a moment
	fill(t, a, p, 5, 7)
	broken := fill(t, a, p, 20, 29)
	_, replace := object(t, a.bucket, broken)
	replace([]byte("x"))
	fill(t, a, Partition{"tracing-topic-2", "id", 0}, 0, 99)
	source := a.Source(testTopic, time.UnixMilli(3), time.UnixMilli(12)) // the broken one is of another time
	assert.Equal(t, []int64{3, 4, 5, 6, 7, 8, 9, 10, 11}, offsets(t, source))
	assert.Equal(t, []int64{13, 14}, offsets(t, a.Source(testTopic, time.UnixMilli(13), time.UnixMilli(20))))
	total, err := source.Total(t.Context())
	require.NoError(t, err)
	assert.EqualValues(t, 15, total, "by the names: segments count as a whole, offsets once")
}

func TestReadingEndsWhereYieldWants(t *testing.T) {
	t.Parallel()
	a := memory(t)
	fill(t, a, testPartition, 0, 9)
	enough := errors.New("enough")
	n := 0
	err := a.Source(testTopic, time.Time{}, time.Now()).Read(t.Context(), func(replay.Record) error {
		n++
		return enough
	})
	assert.Equal(t, enough, err)
	assert.Equal(t, 1, n)
}

func TestABrokenSegmentIsNamedAndGivesNothing(t *testing.T) {
	t.Parallel()
	a := memory(t)
	fill(t, a, testPartition, 0, 9)
	broken := fill(t, a, testPartition, 10, 19)
	content, replace := object(t, a.bucket, broken)
	replace(content[:len(content)-1])
	var last int64
	err := a.Source(testTopic, time.Time{}, time.Now()).Read(t.Context(), func(r replay.Record) error {
		last = r.Offset
		return nil
	})
	assert.ErrorContains(t, err, "segment "+broken+" is broken: ")
	assert.EqualValues(t, 9, last)
}

func TestAnArchiveWithoutTheTopicIsAnError(t *testing.T) {
	t.Parallel()
	err := memory(t).Source("no-topic", time.Time{}, time.Now()).Read(t.Context(), nil)
	assert.EqualError(t, err, "archive mem://: no segments of topic no-topic")
}

func TestVerifyTellsWhatIsBrokenMissingAndTwice(t *testing.T) {
	t.Parallel()
	a := directory(t)
	one, two := Partition{testTopic, "id", 1}, Partition{testTopic, "id", 2}
	fill(t, a, one, 3, 9)
	fill(t, a, one, 8, 12)
	fill(t, a, one, 20, 20)
	cut := fill(t, a, two, 0, 9)
	flipped := fill(t, a, two, 10, 19)
	fill(t, a, two, 20, 29)
	content, replace := object(t, a.bucket, cut)
	replace(content[:len(content)/2])
	content, replace = object(t, a.bucket, flipped)
	content[len(content)/2] ^= 1
	replace(content)
	leftover := "tracing-topic/id/1/x.cbor.zst.123.tmp"
	require.NoError(t, os.WriteFile(filepath.Join(a.dir, filepath.FromSlash(leftover)), nil, 0o600))
	renamed := "tracing-topic/id/1/renamed.cbor.zst"
	require.NoError(t, os.WriteFile(filepath.Join(a.dir, filepath.FromSlash(renamed)), nil, 0o600))

	report, err := a.Verify(t.Context(), payload.Setting{})
	require.NoError(t, err)
	var broken []string
	for _, b := range report.Broken {
		broken = append(broken, b.Name)
	}
	assert.ElementsMatch(t, []string{cut, flipped, renamed}, broken)
	assert.Equal(t, []string{leftover}, report.Others)
	require.Len(t, report.Partitions, 2)
	first := report.Partitions[0]
	assert.Positive(t, first.Bytes)
	first.Bytes = 0
	assert.Equal(t, &PartitionReport{
		Partition: one, Segments: 3, Records: 11, Spans: 33, From: time.UnixMilli(3), To: time.UnixMilli(20),
		First: 3, Last: 20, Gaps: []Range{{13, 19}}, Overlaps: 2,
	}, first)
	assert.EqualValues(t, 10, report.Partitions[1].Records)
}

func TestWrongURLsAreToldInOneSentence(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	const noLogin = "the URL of an archive holds no user and password: an S3 bucket takes them from the environment, as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
	for url, want := range map[string]string{
		"":                             `archive "": want file:///DIR or s3://BUCKET`,
		dir:                            `archive "` + dir + `": want file:///DIR or s3://BUCKET`,
		"ftp://host/dir":               `archive "ftp://host/dir": want file:///DIR or s3://BUCKET`,
		"://":                          `archive "://": not a URL`,
		"file://archive/dir":           `archive "file://archive/dir": a directory is written with three slashes, file:///DIR`,
		"file://" + dir + "/missing":   "archive file://" + dir + "/missing: stat " + dir + "/missing: no such file or directory",
		"file://" + file:               "archive file://" + file + ": " + file + " is not a directory",
		"file://" + dir + "?mode=0700": "archive \"file://" + dir + `?mode=0700": a directory takes no parameters`,
		"s3://key:secret@bucket":       noLogin,
		"s3://bucket?endpoint=http://key:secret@host": noLogin,
		"s3://": `archive "s3://": want file:///DIR or s3://BUCKET`,
	} {
		_, err := Open(t.Context(), url)
		assert.EqualError(t, err, want)
	}
}

func TestASegmentIsInvisibleUntilItIsWhole(t *testing.T) {
	t.Parallel()
	a := directory(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, a.put(ctx, "a/b", []byte("content")), context.Canceled)
	files, err := filepath.Glob(filepath.Join(a.dir, "*", "*"))
	require.NoError(t, err)
	assert.Empty(t, files)
}

// What a search misses is archived twice, and what it made up would be lost. Of
// segments that overlap it may miss one before the last.
func TestSearchFindsTheLastSegment(t *testing.T) {
	const page = 3
	for seed := range uint64(2000) {
		random := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // no secret
		var all []Segment
		for first := random.Int64N(1000); len(all) < int(seed%40); first += 1 + random.Int64N(1000) {
			all = append(all, Segment{First: first, Last: first + random.Int64N(50)})
		}
		last := behind(all[max(0, len(all)-1):])
		end := max(0, last+random.Int64N(2000)-1000)
		lists := 0
		got, err := search(end, func(from int64) ([]Segment, bool, error) {
			lists++
			i := slices.IndexFunc(all, func(s Segment) bool { return s.First >= from })
			if i < 0 {
				return nil, false, nil
			}
			return all[i:min(i+page, len(all))], i+page < len(all), nil
		})
		require.NoError(t, err)
		require.GreaterOrEqual(t, got, last, "seed %d", seed)
		require.LessOrEqual(t, got, behind(all), "seed %d", seed)
		require.Less(t, lists, 70, "seed %d", seed)
	}
}
