package service

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"fault-tolerant-tracing/services/internal/collector"
)

// OTLP are the standard settings of a client of an OTLP/HTTP backend, of
// https://opentelemetry.io/docs/specs/otel/protocol/exporter.
type OTLP struct {
	Traces      url.URL `env:"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT" help:"OTLP/HTTP backend of the relay, with its path"`
	Base        url.URL `env:"OTEL_EXPORTER_OTLP_ENDPOINT" help:"the same, to which /v1/traces is added; default http://localhost:4318"`
	Protocol    string  `env:"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL" or:"OTEL_EXPORTER_OTLP_PROTOCOL" envDefault:"http/protobuf" help:"nothing else"`
	Headers     string  `env:"OTEL_EXPORTER_OTLP_TRACES_HEADERS" or:"OTEL_EXPORTER_OTLP_HEADERS" secret:"true" help:"of each post: name=value, separated by commas, values percent-encoded"`
	HeadersFile string  // where they come from, if it is a file
	CAFile      string  `env:"OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE" or:"OTEL_EXPORTER_OTLP_CERTIFICATE" help:"file with the authorities to trust, PEM; default the system's"`
	CertFile    string  `env:"OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE" or:"OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE" help:"file with the relay's own certificate, PEM"`
	KeyFile     string  `env:"OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY" or:"OTEL_EXPORTER_OTLP_CLIENT_KEY" help:"file with its key, PEM"`
	Compression string  `env:"OTEL_EXPORTER_OTLP_TRACES_COMPRESSION" or:"OTEL_EXPORTER_OTLP_COMPRESSION" envDefault:"none" oneof:"none,gzip" help:"of the posts"`
	Timeout     int     `env:"OTEL_EXPORTER_OTLP_TRACES_TIMEOUT" or:"OTEL_EXPORTER_OTLP_TIMEOUT" envDefault:"10000" help:"milliseconds that a post may take with its answer"`

	header http.Header
	tls    *tls.Config
}

// Check implements Checker. It reads the files of certificates.
func (o *OTLP) Check() (problems []Problem) {
	if o.Protocol != "http/protobuf" {
		problems = append(problems, Problem{Name: "OTEL_EXPORTER_OTLP_PROTOCOL", Value: o.Protocol,
			Allowed: "must be http/protobuf: the relay speaks OTLP by HTTP, for which backends have another port, 4318 instead of 4317"})
	}
	var err error
	if o.header, err = headers(o.Headers); err != nil {
		problems = append(problems, Problem{Name: "OTEL_EXPORTER_OTLP_HEADERS", Allowed: err.Error()})
	}
	if (o.CertFile == "") != (o.KeyFile == "") {
		problems = append(problems, Problem{Name: "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE, OTEL_EXPORTER_OTLP_CLIENT_KEY", Allowed: "must be set both or not at all"})
	} else if o.tls, err = o.tlsConfig(); err != nil {
		problems = append(problems, Problem{Name: "OTEL_EXPORTER_OTLP_*CERTIFICATE", Allowed: withoutName(err).Error()})
	}
	return problems
}

// headers reads a list of name=value, with spaces around them and values percent-encoded,
// as the W3C writes baggage.
func headers(list string) (http.Header, error) {
	h := http.Header{}
	for item := range strings.SplitSeq(list, ",") {
		if strings.TrimSpace(item) == "" {
			continue
		}
		name, value, found := strings.Cut(item, "=")
		name = strings.TrimSpace(name)
		decoded, err := url.PathUnescape(strings.TrimSpace(value))
		if !found || err != nil || !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(decoded) {
			return nil, errors.New("must be name=value, separated by commas, values percent-encoded")
		}
		h.Add(name, decoded)
	}
	return h, nil
}

// currentHeader reads the file of headers again, if they come from one: a token in it may have been replaced. What cannot be
// used counts as not there yet.
func (o *OTLP) currentHeader() http.Header {
	if o.HeadersFile != "" {
		if list, err := secret("", map[string]string{"_FILE": o.HeadersFile}); err == nil {
			if h, err := headers(list); err == nil && len(h) > 0 {
				return h
			}
		}
	}
	return o.header
}

// tlsConfig returns nil where nothing is set. The relay's own certificate is read again
// for each connection, so that a new one is in use soon.
func (o *OTLP) tlsConfig() (*tls.Config, error) {
	if o.CAFile == "" && o.CertFile == "" {
		return nil, nil //nolint:nilnil // the default of net/http
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if o.CAFile != "" {
		var err error
		if c.RootCAs, err = ReadAuthorities(o.CAFile); err != nil {
			return nil, err
		}
	}
	if o.CertFile != "" {
		own := func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(o.CertFile, o.KeyFile)
			return &pair, err
		}
		if _, err := own(nil); err != nil {
			return nil, err
		}
		c.GetClientCertificate = own
	}
	return c, nil
}

// ReadAuthorities reads a PEM file of certificate authorities, of which there must be one.
func ReadAuthorities(file string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("no certificate in %s", file)
	}
	return pool, nil
}

// Set tells whether there is an endpoint among the settings.
func (o *OTLP) Set() bool { return o.Traces.Host != "" || o.Base.Host != "" }

// Config returns how to post to the endpoint, or to the default one.
func (o *OTLP) Config() collector.Config {
	endpoint := o.Traces
	switch {
	case endpoint.Host != "":
	case o.Base.Host != "":
		endpoint = *o.Base.JoinPath("v1/traces")
	default:
		endpoint = url.URL{Scheme: "http", Host: "localhost:4318", Path: "/v1/traces"}
	}
	cfg := collector.OTLP(endpoint)
	cfg.Header, cfg.TLS = o.currentHeader, o.tls
	cfg.Gzip = o.Compression == "gzip"
	cfg.Timeout = time.Duration(o.Timeout) * time.Millisecond
	return cfg
}
