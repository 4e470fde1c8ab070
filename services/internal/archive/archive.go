// Package archive keeps the records of a Kafka topic in cheap storage, a
// directory or an S3 bucket, for longer than the topic does.
//
// An [Archiver] writes them as segments, compressed objects whose names say which
// offsets and which times they hold, so that a listing is the index. A segment
// is visible only when it is whole, and never changes. How far the archive has
// come is what its names say and nothing else: killed at any moment, an archiver
// goes on behind the last segment. Two of them may write the same records for a
// moment; readers take each offset once.
//
// An [Archive] reads them: the records of a time, in the order of each partition
// ([Archive.Source]), and a check of everything ([Archive.Verify]). A segment
// that is cut short or changed in any way is found, and no record of it is
// given out.
//
// The package deletes nothing. How long segments are kept is for the storage to
// say.
package archive

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"gocloud.dev/blob"
	_ "gocloud.dev/blob/fileblob" // file://
	_ "gocloud.dev/blob/s3blob"   // s3://
)

// attempt is how long one request to the storage may take, so that one that is
// never answered is made again.
const attempt = 2 * time.Minute

// Archive is a place for segments. It is safe for several goroutines.
type Archive struct {
	url    string
	dir    string // of a file:// URL
	bucket *blob.Bucket
}

// Open returns the archive at rawURL: file:///DIR, a directory that exists, or
// s3://BUCKET, which takes its credentials from the environment as every AWS
// client does. Besides the parameters of gocloud.dev/blob/s3blob, ?endpoint=URL
// names another S3 server, and ?prefix=NAME/ a part of the bucket. Open asks the
// storage whether it is there. The caller closes the archive.
func Open(ctx context.Context, rawURL string) (*Archive, error) {
	a := &Archive{url: rawURL}
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, fmt.Errorf("archive %q: not a URL", rawURL)
	}
	query := u.Query()
	if endpoint, err := url.Parse(query.Get("endpoint")); u.User != nil || err != nil || endpoint.User != nil {
		return nil, errors.New("the URL of an archive holds no user and password: an S3 bucket takes them from the environment, as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
	}
	switch {
	case u.Scheme == "file" && u.Path != "":
		if u.Host != "" && u.Host != "localhost" {
			return nil, fmt.Errorf("archive %q: a directory is written with three slashes, file:///DIR", rawURL)
		}
		if len(query) > 0 {
			return nil, fmt.Errorf("archive %q: a directory takes no parameters", rawURL)
		}
		a.dir = filepath.FromSlash(u.Path)
		query.Set("metadata", "skip") // no files beside the segments
		query.Set("no_tmp_dir", "1")  // a rename must not cross file systems
	case u.Scheme == "s3" && u.Host != "":
		if query.Has("endpoint") {
			setDefault(query, "use_path_style", "true") // BUCKET.localhost is no host
			setDefault(query, "region", cmp.Or(os.Getenv("AWS_REGION"), os.Getenv("AWS_DEFAULT_REGION"), "us-east-1"))
		}
	default:
		return nil, fmt.Errorf("archive %q: want file:///DIR or s3://BUCKET", rawURL)
	}
	u.RawQuery = query.Encode()
	if a.bucket, err = blob.OpenBucket(ctx, u.String()); err != nil {
		return nil, a.wrap(err)
	}
	if err := a.accessible(ctx); err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return a, nil
}

func setDefault(query url.Values, key, value string) {
	if !query.Has(key) {
		query.Set(key, value)
	}
}

// Close releases the client of the storage.
func (a *Archive) Close() error { return a.bucket.Close() }

// URL returns what the archive was opened with.
func (a *Archive) URL() string { return a.url }

func (a *Archive) wrap(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) { // what is before it tells the same once more
		err = path
	}
	return fmt.Errorf("archive %s: %w", a.url, err)
}

// accessible asks whether the storage is there. The driver for directories takes
// one that is not, or cannot be read, for an empty one.
func (a *Archive) accessible(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, attempt)
	defer cancel()
	if a.dir != "" {
		dir, err := os.Open(a.dir)
		if err != nil {
			return a.wrap(err)
		}
		defer dir.Close()
		if _, err := dir.ReadDir(1); err != nil && !errors.Is(err, io.EOF) {
			return a.wrap(err)
		}
		return nil
	}
	switch ok, err := a.bucket.IsAccessible(ctx); {
	case err != nil:
		return a.wrap(err)
	case !ok:
		return fmt.Errorf("archive %s: no such bucket", a.url)
	}
	return nil
}
