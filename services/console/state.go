package main

import (
	"time"

	"fault-tolerant-tracing/services/internal/control"
	"fault-tolerant-tracing/services/internal/dispatch"
)

// state is what the page shows, once a second.
type state struct {
	At     time.Time        `json:"at"`
	Kafka  peer             `json:"kafka"`
	Jaeger peer             `json:"jaeger"`
	Relay  relayState       `json:"relay"`
	Parts  []part           `json:"parts"` // the services
	Topics map[string]topic `json:"topics"`
	Spans  spans            `json:"spans"`

	Outages []outage `json:"outages"` // the last one last

	Answers []answer `json:"answers"` // the latest first
	Letters []letter `json:"letters"` // the latest first

	Demo *control.Status `json:"demo,omitempty"` // nil: there is none that could be told to do anything
}

// peer is something that may be away.
type peer struct {
	Up    bool   `json:"up"`
	Error string `json:"error,omitempty"`
}

func peerOf(err error) peer {
	if err != nil {
		return peer{Error: err.Error()}
	}
	return peer{Up: true}
}

// part is a service and whether it is there: a member of its group, or one that answers.
type part struct {
	Name string `json:"name"`
	Up   bool   `json:"up"`
}

type relayState struct {
	peer
	State     dispatch.State `json:"state,omitempty"`
	Since     time.Time      `json:"since,omitzero"`
	LastError string         `json:"last_error,omitempty"`
	Oldest    *time.Time     `json:"oldest,omitempty"` // timestamp of the oldest record that is not delivered
}

// topic is one with its numbers of records.
type topic struct {
	Records int64   `json:"records"`       // on it now
	Rate    float64 `json:"rate"`          // new ones, a second of late
	Lag     int64   `json:"lag,omitempty"` // that its group has not finished
	Done    float64 `json:"done"`          // that its group finishes, a second
}

// spans are those that were written to tracing-topic and are still there.
type spans struct {
	Written   int64   `json:"written"`
	Delivered int64   `json:"delivered"` // to Jaeger, or set aside
	Waiting   int64   `json:"waiting"`
	Lost      int64   `json:"lost"` // that never came to the topic, as the services themselves tell
	In        float64 `json:"in"`   // a second of late
	Out       float64 `json:"out"`
}

// answer is a record of answer-topic.
type answer struct {
	Text  string    `json:"text"`
	Trace string    `json:"trace,omitempty"` // its id
	At    time.Time `json:"at"`
}

// letter is a record of a dead-letter topic.
type letter struct {
	Topic  string    `json:"topic"` // it lies on
	From   string    `json:"from"`  // topic/partition/offset
	Reason string    `json:"reason"`
	At     time.Time `json:"at"`
}

// point is one second of the past.
type point struct {
	At      int64 `json:"t"` // milliseconds since 1970
	Waiting int64 `json:"w"`
}
