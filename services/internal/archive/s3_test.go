package archive

import (
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
)

// fakeS3 is an S3 server in this process, which can refuse to write.
type fakeS3 struct {
	*httptest.Server
	away atomic.Bool
	real http.Handler
}

func (s *fakeS3) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.away.Load() && r.Method != http.MethodGet {
		_, _ = io.Copy(io.Discard, r.Body)
		http.Error(w, "away", http.StatusServiceUnavailable)
		return
	}
	s.real.ServeHTTP(w, r)
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
	s := &fakeS3{real: gofakes3.New(backend, gofakes3.WithLogger(gofakes3.StdLog(log.New(io.Discard, "", 0)))).Server()}
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

// More than one page of a listing.
func TestManySegmentsInS3(t *testing.T) {
	s3 := startS3(t)
	to := open(t, "s3://traces?endpoint="+s3.URL)
	s, content := build(Record{Offset: 0, Timestamp: 1, Value: newBatch(t, 1)})
	for i := range int64(1100) {
		s.First, s.Last = i, i
		require.NoError(t, to.put(t.Context(), s.Name(), content))
	}
	next, err := to.next(t.Context(), testPartition)
	require.NoError(t, err)
	assert.EqualValues(t, 1100, next)
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
