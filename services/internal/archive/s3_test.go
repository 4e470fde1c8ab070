package archive

import (
	"bytes"
	"io"
	"log"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
)

// fakeS3 is an S3 server in this process, which can refuse to write and counts what
// it lists.
type fakeS3 struct {
	*httptest.Server
	away    atomic.Bool
	listed  atomic.Int64 // keys
	backend *s3mem.Backend
	real    http.Handler
}

func (s *fakeS3) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.away.Load() && r.Method != http.MethodGet {
		_, _ = io.Copy(io.Discard, r.Body)
		http.Error(w, "away", http.StatusServiceUnavailable)
		return
	}
	if !r.URL.Query().Has("list-type") {
		s.real.ServeHTTP(w, r)
		return
	}
	answer := httptest.NewRecorder()
	s.real.ServeHTTP(answer, r)
	s.listed.Add(int64(bytes.Count(answer.Body.Bytes(), []byte("<Key>"))))
	maps.Copy(w.Header(), answer.Header())
	w.WriteHeader(answer.Code)
	_, _ = w.Write(answer.Body.Bytes())
}

// startS3 starts a server with a bucket. Credentials come from the environment,
// as everywhere.
func startS3(t *testing.T) *fakeS3 {
	t.Helper()
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_EC2_METADATA_DISABLED": "true",
		"AWS_CONFIG_FILE": "/nonexistent", "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent", "AWS_REGION": "", "AWS_DEFAULT_REGION": "",
	} {
		t.Setenv(name, value)
	}
	backend := s3mem.New()
	require.NoError(t, backend.CreateBucket("traces"))
	s := &fakeS3{backend: backend, real: gofakes3.New(backend, gofakes3.WithLogger(gofakes3.StdLog(log.New(io.Discard, "", 0)))).Server()}
	s.Server = httptest.NewServer(s)
	t.Cleanup(func() {
		s.Close()
		http.DefaultClient.CloseIdleConnections()
	})
	return s
}

func TestAnArchiveInS3(t *testing.T) {
	s3 := startS3(t)
	broker := startTopic(t, 2)
	to := open(t, "s3://traces?endpoint="+s3.URL+"&prefix=a/b/")
	noise := make([]byte, 900_000) // does not compress: segments above the 8 MiB that are sent in one part
	_, _ = rand.NewChaCha8([32]byte{}).Read(noise)
	produce(t, broker, 2, 50, func(_ int, r *kgo.Record) { r.Value = noise })
	r := start(t, broker, to)
	eventually(t, "archived", func() bool { return archived(t, to, 50) })
	requireSame(t, broker, to)

	s3.away.Store(true)
	produce(t, broker, 2, 100)
	eventually(t, "on hold", func() bool { return r.count("on hold") == 1 })
	s3.away.Store(false)
	eventually(t, "archived", func() bool { return archived(t, to, 150) })
	assert.Equal(t, 1, r.count("goes on"))
	require.NoError(t, r.stop())
	requireSame(t, broker, to)
	assert.Empty(t, segments(t, open(t, "s3://traces?endpoint="+s3.URL+"&prefix=c/")))
}

// Where an archiver goes on is asked at each rebalance, however long the history is.
func TestOfManySegmentsInS3OnlyTheLastAreListed(t *testing.T) {
	s3 := startS3(t)
	to := open(t, "s3://traces?endpoint="+s3.URL+"&prefix=a/b/")
	s, _ := build(Record{Offset: 0, Timestamp: 1})
	for i := range int64(9000) {
		s.First, s.Last = 10*i, 10*i+9
		_, err := s3.backend.PutObject("traces", "a/b/"+s.Name(), nil, strings.NewReader("-"), 1, nil)
		require.NoError(t, err)
	}
	assert.Len(t, segments(t, to), 9000, "all pages of a listing")

	before := s3.listed.Load()
	next, err := to.next(t.Context(), testPartition, 90_500)
	require.NoError(t, err)
	assert.EqualValues(t, 90_000, next)
	assert.LessOrEqual(t, s3.listed.Load()-before, int64(4*pageSize), "keys: the first, from the half, from three quarters, the rest")
}

func TestAnS3BucketThatIsNotThereIsTold(t *testing.T) {
	s3 := startS3(t)
	url := "s3://missing?endpoint=" + s3.URL
	_, err := Open(t.Context(), url)
	assert.EqualError(t, err, "archive "+url+": no such bucket")

	s3.Close()
	began := time.Now()
	_, err = Open(t.Context(), url)
	require.ErrorContains(t, err, "connection refused")
	assert.NotContains(t, err.Error(), "\n")
	assert.Less(t, time.Since(began), 30*time.Second)
	t.Log(err)
}
