package main

import (
	"errors"
	"net/url"
	"time"

	"fault-tolerant-tracing/services/internal/replay"
	"fault-tolerant-tracing/services/internal/service"
)

// The types of the commands' flags. Each refuses what it cannot read with what
// would be right.

// timeFlag is a point in time; zero: not given.
type timeFlag struct{ time.Time }

const localTime = "2006-01-02 15:04:05"

func (f *timeFlag) Set(text string) error {
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		at, err = time.ParseInLocation(localTime, text, time.Local)
	}
	if err != nil {
		return errors.New(`must be a time, as 2006-01-02T15:04:05Z or, local, "2006-01-02 15:04:05"`)
	}
	f.Time = at
	return nil
}

func (f *timeFlag) String() string {
	if f.IsZero() {
		return ""
	}
	return f.Format(time.RFC3339)
}

func (f *timeFlag) Type() string { return "time" }

// urlFlag is the address of a collector; nil: not given.
type urlFlag struct{ *url.URL }

func (f *urlFlag) Set(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return errors.New("must be an absolute http or https URL, such as http://localhost:14268/api/traces")
	}
	f.URL = u
	return nil
}

func (f *urlFlag) String() string {
	if f.URL == nil {
		return ""
	}
	return f.Redacted()
}

func (f *urlFlag) Type() string { return "URL" }

// or returns the setting, with the flag instead of its endpoint if it was given.
func (f *urlFlag) or(setting service.Collector) service.Collector {
	if f.URL != nil {
		setting.Endpoint = *f.URL
	}
	return setting
}

const jaegerUsage = "Jaeger's collector, instead of JAEGER_ENDPOINT; JAEGER_USER logs in there, unless the URL names another one"

// traceFlag is the id of a trace; zero: not given.
type traceFlag struct {
	id   replay.TraceID
	text string
}

func (f *traceFlag) Set(text string) (err error) {
	f.text = text
	f.id, err = replay.ParseTraceID(text)
	return err
}

func (f *traceFlag) String() string { return f.text }
func (f *traceFlag) Type() string   { return "id" }
