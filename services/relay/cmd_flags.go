package main

import (
	"errors"
	"net/url"
	"time"

	"github.com/spf13/pflag"

	"fault-tolerant-tracing/services/internal/replay"
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
		return errors.New("must be an absolute http or https URL, such as http://localhost:4318/v1/traces")
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

// endpointFlags say where spans go to instead of where the settings say.
type endpointFlags struct{ otlp, jaeger urlFlag }

func (f *endpointFlags) add(flags *pflag.FlagSet) {
	flags.Var(&f.otlp, "endpoint", "OTLP/HTTP backend, instead of OTEL_EXPORTER_OTLP_ENDPOINT, with its path; it gets the same headers and certificate")
	flags.Var(&f.jaeger, "jaeger", "Jaeger's collector for jaeger.thrift, instead of JAEGER_ENDPOINT")
	_ = flags.MarkDeprecated("jaeger", "say --endpoint; Jaeger has taken OTLP since 1.35, at :4318/v1/traces")
}

// or returns the settings with the flags instead of their endpoints, if they were given.
func (f *endpointFlags) or(b backend) backend {
	switch {
	case f.otlp.URL != nil:
		b.OTLP.Traces = *f.otlp.URL
	case f.jaeger.URL != nil:
		b.OTLP.Traces, b.OTLP.Base, b.Jaeger.Endpoint = url.URL{}, url.URL{}, *f.jaeger.URL
	}
	return b
}

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
