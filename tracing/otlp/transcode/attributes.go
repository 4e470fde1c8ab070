package transcode

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/uber/jaeger-client-go/thrift-gen/jaeger"

	"fault-tolerant-tracing/tracing/batch"
)

// attributes are tags of which each key is there once.
type attributes struct {
	list []attribute
	at   map[string]int // where each key is, if there are many
}

type attribute struct {
	batch.Tag
	taken bool // it became something else
}

// many is from how many on they are found by a map.
const many = 32

func (a *attributes) reset() {
	a.list = a.list[:0]
	clear(a.at)
}

// put adds a tag, in the place of one with the same key if there is one.
func (a *attributes) put(tag batch.Tag) {
	if tag.Type < jaeger.TagType_STRING || tag.Type > jaeger.TagType_BINARY {
		tag.Bytes = fmt.Appendf(nil, "<Unknown Jaeger TagType %q>", tag.Type)
		tag.Type = jaeger.TagType_STRING
	}
	if i := a.find(tag.Key); i >= 0 {
		a.list[i].Tag = tag
		return
	}
	a.list = append(a.list, attribute{Tag: tag})
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
	if at := a.there(key); at != nil {
		return &at.Tag
	}
	return nil
}

// take is get, and takes it away.
func (a *attributes) take(key string) *batch.Tag {
	if at := a.there(key); at != nil {
		at.taken = true
		return &at.Tag
	}
	return nil
}

func (a *attributes) there(key string) *attribute {
	for i := range a.list {
		if string(a.list[i].Key) == key && !a.list[i].taken {
			return &a.list[i]
		}
	}
	return nil
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
	tag := a.take("span.kind")
	switch string(text(tag)) {
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
		if tag := a.take("otel.status_description"); tag != nil {
			return statusError, text(tag)
		}
		return statusError, text(a.get("http.status_message"))
	}
	if tag := a.take("otel.status_code"); tag != nil {
		return statusOf(text(tag)), text(a.take("otel.status_description"))
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
