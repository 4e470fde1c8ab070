package archive

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"gocloud.dev/blob"
)

// listing is what lies below a prefix.
type listing struct {
	segments []Segment  // by partition and first offset
	broken   []*Problem // with the suffix of a segment, but not the name of one
	others   []string   // names of what is no segment
}

// pageSize is what S3 gives at a time.
const pageSize = 1000

// list returns what lies below a prefix, which is empty or ends with a slash.
func (a *Archive) list(ctx context.Context, prefix string) (listing, error) {
	var found listing
	err := a.accessible(ctx)
	if err != nil {
		return found, err
	}
	if a.dir != "" {
		err = a.walk(ctx, prefix, &found)
	} else {
		for token := blob.FirstPageToken; err == nil && len(token) > 0; {
			var page []*blob.ListObject
			page, token, err = a.page(ctx, token, &blob.ListOptions{Prefix: prefix})
			for _, object := range page {
				found.add(object.Key, object.Size)
			}
		}
	}
	if err != nil {
		return listing{}, a.wrap(err)
	}
	slices.SortFunc(found.segments, order)
	return found, nil
}

// walk lists a directory. The driver's own listing leaves out what it cannot read,
// fails when a file is renamed meanwhile, and begins each page at the first file.
func (a *Archive) walk(ctx context.Context, prefix string, found *listing) error {
	root := filepath.Join(a.dir, filepath.FromSlash(prefix))
	return filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case path == root && errors.Is(err, fs.ErrNotExist):
			return nil // nothing is archived yet
		case err != nil || ctx.Err() != nil:
			return cmp.Or(err, ctx.Err())
		case entry.IsDir():
			return nil
		}
		name, err := filepath.Rel(a.dir, path)
		if err != nil {
			return err
		}
		size := int64(0)
		if strings.HasSuffix(name, suffix) { // others may be gone by now
			info, err := entry.Info()
			if err != nil {
				return err
			}
			size = info.Size()
		}
		found.add(filepath.ToSlash(name), size)
		return nil
	})
}

func (a *Archive) page(ctx context.Context, token []byte, options *blob.ListOptions) ([]*blob.ListObject, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, attempt)
	defer cancel()
	return a.bucket.ListPage(ctx, token, pageSize, options)
}

func (l *listing) add(name string, size int64) {
	if !strings.HasSuffix(name, suffix) {
		l.others = append(l.others, name)
		return
	}
	s, err := parseName(name)
	if err != nil {
		l.broken = append(l.broken, &Problem{name, err})
		return
	}
	s.Bytes = size
	l.segments = append(l.segments, s)
}

// order sorts segments by partition and first offset; of those that begin alike
// the longest comes first.
func order(a, b Segment) int {
	return cmp.Or(
		cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.TopicID, b.TopicID), cmp.Compare(a.Number, b.Number),
		cmp.Compare(a.First, b.First), cmp.Compare(b.Last, a.Last),
	)
}

// next returns the offset behind the last one that the archive has of a
// partition; 0: it has none. The topic ends at end.
func (a *Archive) next(ctx context.Context, p Partition, end int64) (int64, error) {
	if a.dir != "" { // which has no order: it is read as a whole
		found, err := a.list(ctx, p.dir())
		return behind(found.segments), err
	}
	if err := a.accessible(ctx); err != nil {
		return 0, err
	}
	return search(end, func(from int64) ([]Segment, bool, error) {
		objects, rest, err := a.page(ctx, blob.FirstPageToken, &blob.ListOptions{Prefix: p.dir(), BeforeList: startAt(from)})
		if err != nil {
			return nil, false, a.wrap(err)
		}
		var page listing
		for _, object := range objects {
			page.add(object.Key, object.Size)
		}
		return page.segments, len(rest) > 0, nil
	})
}

// startAt has S3 list the segments of a partition that begin at an offset or behind it.
func startAt(from int64) func(as func(any) bool) error {
	return func(as func(any) bool) error {
		var input *s3.ListObjectsV2Input
		if !as(&input) {
			return errors.New("the storage cannot list names from one on")
		}
		input.StartAfter = new(*input.Prefix + offsetName(from))
		return nil
	}
}

// search returns the offset behind the last segment. list returns the first ones, in
// order, that begin at an offset or behind it, and whether there are more. Where the
// last ones are is found by halves, as a bucket may hold years of them: of 500 000
// some ten pages are listed instead of 500.
func search(end int64, list func(from int64) (page []Segment, more bool, err error)) (next int64, err error) {
	from := int64(0)
	// What begins before low is not the last one, unless it was listed; nothing begins at high or behind it.
	for low, high := from, int64(math.MaxInt64); low < high; {
		page, more, err := list(from)
		if err != nil {
			return 0, err
		}
		next = max(next, behind(page))
		switch {
		case len(page) == 0:
			high = from
		case more:
			low = page[len(page)-1].First + 1
		default:
			return next, nil
		}
		if from = low + (high-low)/2; low <= end && end < high {
			from = end // nothing is behind it, as long as the topic is whole
		}
	}
	return next, nil
}

// behind returns the offset behind the last one of some segments.
func behind(segments []Segment) (next int64) {
	for _, s := range segments {
		next = max(next, s.Last+1)
	}
	return next
}

// put writes an object, which is visible when put returns nil, and not before it
// is whole. In a directory it is on the disk then, and stays whole whatever
// becomes of the machine.
func (a *Archive) put(ctx context.Context, name string, content []byte) error {
	if err := a.accessible(ctx); err != nil { // or the driver would make the directory of a disk that is away
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, attempt)
	defer cancel()
	var file *os.File
	w, err := a.bucket.NewWriter(ctx, name, &blob.WriterOptions{
		ContentType: "application/zstd",
		BeforeWrite: func(as func(any) bool) error {
			as(&file)
			return nil
		},
	})
	if err != nil {
		return a.wrap(err)
	}
	_, err = w.Write(content)
	if err == nil && file != nil {
		err = file.Sync()
	}
	if err != nil {
		cancel() // or Close would make visible what there is
		_ = w.Close()
		return a.wrap(err)
	}
	if err := w.Close(); err != nil {
		return a.wrap(err)
	}
	return nil
}

// read returns the records of a segment, after it has checked all of it.
func (a *Archive) read(ctx context.Context, s Segment) ([]Record, error) {
	content, err := a.get(ctx, s.Name())
	if err != nil {
		return nil, err
	}
	records, err := decode(s, content)
	if err != nil {
		return nil, &Problem{s.Name(), err}
	}
	return records, nil
}

func (a *Archive) get(ctx context.Context, name string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, attempt)
	defer cancel()
	r, err := a.bucket.NewReader(ctx, name, nil)
	if err != nil {
		return nil, a.wrap(err)
	}
	defer r.Close()
	if r.Size() > maxContent {
		return nil, &Problem{name, fmt.Errorf("%d bytes, more than any segment has", r.Size())}
	}
	content, err := io.ReadAll(io.LimitReader(r, maxContent))
	if err != nil {
		return nil, a.wrap(err)
	}
	return content, nil
}

// Problem is something wrong with one object: it is not what an archiver writes.
type Problem struct {
	Name string // of the object
	Err  error
}

func (p *Problem) Error() string { return fmt.Sprintf("segment %s is broken: %v", p.Name, p.Err) }
func (p *Problem) Unwrap() error { return p.Err }
