package transcode

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/uber/jaeger-client-go/thrift-gen/jaeger"

	"fault-tolerant-tracing/tracing/batch"
)

// attributes are tags of which each key is there once. What became something else has
// the type taken.
type attributes struct {
	list []batch.Tag
	at   map[string]int // where each key is, if there are many
}

const taken jaeger.TagType = -1

// many is from how many on they are found by a map.
const many = 32

// set makes attributes of tags, in the memory of these. Of tags with one key the last one
// holds, in the place of the first.
func (a *attributes) set(tags []batch.Tag) {
	a.list = tags[:0]
	clear(a.at)
	for i := range tags {
		a.put(&tags[i])
	}
}

func (a *attributes) put(tag *batch.Tag) {
	if tag.Type < jaeger.TagType_STRING || tag.Type > jaeger.TagType_BINARY {
		tag.Bytes = fmt.Appendf(nil, "<Unknown Jaeger TagType %q>", tag.Type)
		tag.Type = jaeger.TagType_STRING
	}
	if i := a.find(tag.Key); i >= 0 {
		a.list[i] = *tag
		return
	}
	n := len(a.list)
	if a.list = a.list[:n+1]; &a.list[n] != tag {
		a.list[n] = *tag
	}
	if len(a.list) < many {
		return
	}
	if a.at == nil {
		a.at = make(map[string]int)
	}
	for i := len(a.at); i < len(a.list); i++ {
		a.at[string(a.list[i].Key)] = i
	}
}

// find returns the index of a key; -1: it is not there.
func (a *attributes) find(key []byte) int {
	if len(a.list) >= many {
		if i, ok := a.at[string(key)]; ok {
			return i
		}
		return -1
	}
	for i := range a.list {
		if string(a.list[i].Key) == string(key) {
			return i
		}
	}
	return -1
}

// get returns the tag with a key; nil: it is not there, or was taken.
func (a *attributes) get(key string) *batch.Tag {
	for i := range a.list {
		if tag := &a.list[i]; string(tag.Key) == key && tag.Type != taken {
			return tag
		}
	}
	return nil
}

// take takes the tag with a key away, and returns its text.
func (a *attributes) take(key string) (value []byte, found bool) {
	tag := a.get(key)
	if tag == nil {
		return nil, false
	}
	value, tag.Type = text(tag), taken
	return value, true
}

// text returns the text of a tag; one of another type has none.
func text(tag *batch.Tag) []byte {
	if tag == nil || tag.Type != jaeger.TagType_STRING {
		return nil
	}
	return tag.Bytes
}

// Values of SpanKind and StatusCode.
const (
	kindInternal = iota + 1
	kindServer
	kindClient
	kindProducer
	kindConsumer

	statusUnset = 0
	statusOK    = 1
	statusError = 2
)

// takeKind takes the tag that says what kind of span it is.
func (a *attributes) takeKind() int {
	kind, _ := a.take("span.kind")
	switch string(kind) {
	case "client":
		return kindClient
	case "server":
		return kindServer
	case "producer":
		return kindProducer
	case "consumer":
		return kindConsumer
	case "internal":
		return kindInternal
	}
	return 0
}

// takeStatus takes the tags that say how it ended. A true error tag has the first word,
// otel.status_code the next, and a status code of HTTP the last.
func (a *attributes) takeStatus(kind int) (code int, reason []byte) {
	if tag := a.get("error"); tag != nil && tag.Type == jaeger.TagType_BOOL && tag.Num == 1 {
		a.take("error")
		a.take("otel.status_code")
		if reason, found := a.take("otel.status_description"); found {
			return statusError, reason
		}
		return statusError, text(a.get("http.status_message"))
	}
	if name, found := a.take("otel.status_code"); found {
		reason, _ = a.take("otel.status_description")
		return statusOf(name), reason
	}
	if code = statusOfHTTP(a.get("http.status_code"), kind); code == statusUnset {
		return statusUnset, nil
	}
	return code, text(a.get("http.status_message"))
}

func statusOf(name []byte) int {
	switch strings.ToUpper(string(name)) {
	case "OK":
		return statusOK
	case "ERROR":
		return statusError
	}
	return statusUnset
}

// statusOfHTTP is an error for 399 and above, and for what HTTP does not know; a server
// that answers 4xx has done well.
func statusOfHTTP(tag *batch.Tag, kind int) int {
	var n int64
	switch {
	case tag == nil:
		return statusUnset
	case tag.Type == jaeger.TagType_LONG:
		n = int64(tag.Num)
	default:
		var err error
		if n, err = strconv.ParseInt(string(text(tag)), 10, 0); err != nil {
			return statusUnset
		}
	}
	if n >= 400 && n < 500 && kind == kindServer || n >= 100 && n < 399 {
		return statusUnset
	}
	return statusError
}
