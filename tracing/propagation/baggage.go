package propagation

import (
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/uber/jaeger-client-go"
	"golang.org/x/net/http/httpguts"
	"golang.org/x/time/rate"
)

// MaxBaggageBytes is how large the headers of all baggage of a context may be
// together: the limit of W3C Baggage. An item counts with its name, its value as
// it is written, URL-encoded, and the 4 bytes that HTTP adds (": " and CRLF);
// Kafka adds no more, two lengths of at most 2 bytes each. So a record needs 8 KiB
// of room for it, and an HTTP server that takes headers of 16 KiB has as much left
// for all other headers.
const MaxBaggageBytes = 8 << 10

// DroppedTag is the tag with the names of the dropped baggage items, on each span
// of this process whose context they belong to. It is also the name of a baggage
// item, by which these spans know what was dropped before the first of them
// started; it never travels.
const DroppedTag = "baggage.dropped"

// Dropped counts baggage items by the reason for which they were dropped.
type Dropped struct {
	InvalidName int64 // the name is no token (RFC 9110, section 5.6.2)
	TooLarge    int64 // there was no room left in MaxBaggageBytes
}

// division is baggage divided into what travels and what does not.
type division struct {
	travels               map[string]string
	invalidName, tooLarge []string // names, sorted
	before                string   // what was dropped before: see DroppedTag
}

// divide goes by the names in their order: of too many items the first ones
// travel, and one that is too large leaves its room to those behind it.
func divide(baggage map[string]string) division {
	if len(baggage) == 0 { // as nearly always
		return division{}
	}
	d := division{travels: map[string]string{}, before: baggage[DroppedTag]}
	room := MaxBaggageBytes
	for _, name := range slices.Sorted(maps.Keys(baggage)) {
		if name == DroppedTag {
			continue
		}
		value := baggage[name]
		header := jaeger.TraceBaggageHeaderPrefix + name
		size := len(header) + len(url.QueryEscape(value)) + len(": \r\n")
		switch {
		case !httpguts.ValidHeaderFieldName(header):
			d.invalidName = append(d.invalidName, name)
		case size > room:
			d.tooLarge = append(d.tooLarge, name)
		default:
			room -= size
			d.travels[name] = value
		}
	}
	return d
}

// names is the value of DroppedTag; "" if nothing was dropped.
func (d division) names() string {
	const maxNames = 5 // jaeger-client cuts a tag after 256 bytes
	var names []string
	if d.before != "" {
		names = append(names, d.before)
	}
	dropped := slices.Concat(d.invalidName, d.tooLarge)
	for _, name := range dropped[:min(len(dropped), maxNames)] {
		names = append(names, clip(name))
	}
	if more := len(dropped) - maxNames; more > 0 {
		names = append(names, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(names, ", ")
}

// clip returns a name in quotes, as it may be long and hold anything.
func clip(name string) string { return fmt.Sprintf("%.40q", name) }

// drops are the baggage items dropped for one reason.
type drops struct {
	log    *slog.Logger
	reason string
	count  atomic.Int64
	rarely rate.Sometimes
}

func newDrops(log *slog.Logger, reason string) drops {
	return drops{log: log, reason: reason, rarely: rate.Sometimes{Interval: time.Minute}}
}

func (d *drops) add(names []string) {
	if len(names) == 0 {
		return
	}
	total := d.count.Add(int64(len(names)))
	d.rarely.Do(func() {
		d.log.Warn("baggage is dropped", "reason", d.reason, "item", clip(names[0]), "dropped", total)
	})
}
