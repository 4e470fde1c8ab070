package service

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"fault-tolerant-tracing/tracing"
	"fault-tolerant-tracing/tracing/kafkaclient"

	"github.com/uber/jaeger-client-go"
	"github.com/uber/jaeger-client-go/config"
)

// Common are the settings of every program; each settings struct has them as its field Common.
type Common struct {
	LogLevel        slog.Level    `env:"LOG_LEVEL" envDefault:"info" oneof:"debug,info,warn,error" help:"least severe lines to log"`
	LogFormat       string        `env:"LOG_FORMAT" oneof:"text,json" help:"default text on a terminal, json elsewhere"`
	ShutdownTimeout time.Duration `env:"SHUTDOWN_TIMEOUT" envDefault:"8s" help:"how long stopping may take; half of it to finish what is in flight, half to close"`
}

// Kafka are the settings of a client of the cluster with the data.
type Kafka struct {
	Brokers  Brokers `env:"KAFKA_BROKERS" envDefault:"localhost:9092" help:"addresses to start from, separated by commas"`
	Security Security
}

// Brokers are the addresses of a Kafka cluster: host:port, separated by commas.
type Brokers []string

// UnmarshalText implements encoding.TextUnmarshaler.
func (b *Brokers) UnmarshalText(text []byte) error {
	*b = strings.Split(string(text), ",")
	for i, address := range *b {
		(*b)[i] = strings.TrimSpace(address)
		host, port, err := net.SplitHostPort((*b)[i])
		if n, notNumber := strconv.ParseUint(port, 10, 16); err != nil || notNumber != nil || host == "" || strings.Contains(host, "@") || n == 0 {
			return errors.New("addresses host:port, separated by commas")
		}
	}
	return nil
}

// Cluster returns the settings as package kafkaclient wants them.
func (k Kafka) Cluster() kafkaclient.Cluster {
	return kafkaclient.Cluster{Brokers: k.Brokers, Security: kafkaclient.Security(k.Security)}
}

// TracingKafka are the settings of a client of the cluster with the spans: those of Kafka with TRACING_ before their names. If none
// of them is set it is the cluster with the data. It is a type of its own so that none is taken for the other.
type TracingKafka struct {
	Kafka `envPrefix:"TRACING_" fallback:"true"`
}

// Security says how to connect to Kafka.
type Security struct {
	Protocol      string `env:"KAFKA_SECURITY_PROTOCOL" envDefault:"PLAINTEXT" oneof:"PLAINTEXT,SSL,SASL_PLAINTEXT,SASL_SSL" help:"how to connect"`
	SASLMechanism string `env:"KAFKA_SASL_MECHANISM" oneof:"PLAIN,SCRAM-SHA-256,SCRAM-SHA-512" help:"how to log in"`
	SASLUsername  string `env:"KAFKA_SASL_USERNAME" help:"who logs in"`
	SASLPassword  string `env:"KAFKA_SASL_PASSWORD" secret:"true" help:"password"`

	SASLPasswordFile string // of KAFKA_SASL_PASSWORD_FILE

	TLSCAFile   string `env:"KAFKA_TLS_CA_FILE" help:"PEM file of the authorities to trust; default the system's"`
	TLSCertFile string `env:"KAFKA_TLS_CERT_FILE" help:"PEM file of the client's certificate"`
	TLSKeyFile  string `env:"KAFKA_TLS_KEY_FILE" help:"PEM file of the client's key"`
}

// Check implements Checker.
func (s *Security) Check() []Problem {
	if s.Protocol == "" { // not a valid one, which has been told
		return nil
	}
	var problems []Problem
	note := func(name, allowed string) { problems = append(problems, Problem{Name: name, Allowed: allowed}) }
	sasl, tls := strings.HasPrefix(s.Protocol, "SASL_"), strings.HasSuffix(s.Protocol, "SSL")
	for _, v := range []struct{ name, value string }{
		{"KAFKA_SASL_MECHANISM", s.SASLMechanism}, {"KAFKA_SASL_USERNAME", s.SASLUsername}, {"KAFKA_SASL_PASSWORD", s.SASLPassword},
	} {
		if sasl && v.value == "" {
			note(v.name, "must be set with security protocol "+s.Protocol)
		} else if !sasl && v.value != "" {
			note(v.name, "must only be set with security protocol SASL_PLAINTEXT or SASL_SSL")
		}
	}
	for _, v := range []struct{ name, file string }{
		{"KAFKA_TLS_CA_FILE", s.TLSCAFile}, {"KAFKA_TLS_CERT_FILE", s.TLSCertFile}, {"KAFKA_TLS_KEY_FILE", s.TLSKeyFile},
	} {
		if v.file == "" {
			continue
		}
		if !tls {
			note(v.name, "must only be set with security protocol SSL or SASL_SSL")
		} else if _, err := os.ReadFile(v.file); err != nil {
			note(v.name, "must be a file that can be read: "+withoutName(err).Error())
		}
	}
	if (s.TLSCertFile == "") != (s.TLSKeyFile == "") {
		note("KAFKA_TLS_CERT_FILE, KAFKA_TLS_KEY_FILE", "must be set both or not at all")
	}
	return problems
}

// Collector are the settings of a client of Jaeger's collector.
type Collector struct {
	Endpoint url.URL `env:"JAEGER_ENDPOINT" help:"Jaeger's collector for jaeger.thrift: of TRACING_TRANSPORT direct, default http://localhost:14268/api/traces; the relay's if there is no OTLP endpoint"`
	User     string  `env:"JAEGER_USER" help:"who logs in there"`
	Password string  `env:"JAEGER_PASSWORD" secret:"true" help:"password"`
}

// Check implements Checker.
func (c *Collector) Check() []Problem {
	if (c.User == "") != (c.Password == "") {
		return []Problem{{Name: "JAEGER_USER, JAEGER_PASSWORD", Allowed: "must be set both or not at all"}}
	}
	return nil
}

// Tracing are the settings of a program's tracer. The fields named _ are for --help: package config of jaeger-client-go reads
// those variables.
type Tracing struct {
	Kafka     TracingKafka
	Topic     string       `env:"TRACING_TOPIC" envDefault:"tracing-topic" help:"topic for the spans"`
	SpoolDir  string       `env:"TRACING_SPOOL_DIR" help:"directory for spans that Kafka does not take within a second, so that they outlive the process; default none"`
	Transport tracing.Kind `env:"TRACING_TRANSPORT" envDefault:"kafka" oneof:"kafka,direct" help:"where spans go, the topic or straight to Jaeger"`
	Collector Collector

	_ string `env:"JAEGER_SERVICE_NAME" help:"name of the service in its traces; default its own"`
	_ string `env:"JAEGER_TAGS" help:"tags of the process: name=value, separated by commas"`
	_ string `env:"JAEGER_TRACEID_128BIT" envDefault:"false" help:"true: trace ids of 128 bits instead of 64"`
	_ string `env:"JAEGER_DISABLED" envDefault:"false" help:"true: no tracing"`
	_ string `env:"JAEGER_SAMPLER_TYPE" envDefault:"const" help:"const, probabilistic, ratelimiting or remote"`
	_ string `env:"JAEGER_SAMPLER_PARAM" envDefault:"1" help:"what the sampler takes: 1 all, 0 none"`
	_ string `env:"JAEGER_REPORTER_LOG_SPANS" envDefault:"true" help:"log each span, at level debug"`
	_ string `env:"JAEGER_REPORTER_FLUSH_INTERVAL" envDefault:"1s" help:"how long a span may wait for others"`
	_ string `env:"JAEGER_REPORTER_MAX_QUEUE_SIZE" envDefault:"10000" help:"spans to keep before some are dropped"`

	jaeger *config.Configuration
}

// Check implements Checker. It reads the JAEGER_ variables, in jaeger-client-go's own way.
func (t *Tracing) Check() []Problem {
	if problems := t.Collector.Check(); problems != nil {
		return problems // which FromEnv would tell once more
	}
	_ = os.Setenv("JAEGER_PASSWORD", t.Collector.Password) // FromEnv knows no JAEGER_PASSWORD_FILE, and wants to see both
	for tag := range strings.SplitSeq(os.Getenv("JAEGER_TAGS"), ",") {
		if tag != "" && !strings.Contains(tag, "=") { // FromEnv would panic
			return []Problem{{Name: "JAEGER_TAGS", Value: os.Getenv("JAEGER_TAGS"), Allowed: "must be name=value, separated by commas"}}
		}
	}
	defaults := config.Configuration{
		Sampler:  &config.SamplerConfig{Type: "const", Param: 1},
		Reporter: &config.ReporterConfig{LogSpans: true, BufferFlushInterval: time.Second, QueueSize: 10_000},
	}
	// The endpoint comes last, and has been told.
	if _, err := defaults.FromEnv(); err != nil && !errors.As(err, new(*url.Error)) {
		return []Problem{{Name: "JAEGER_*", Allowed: err.Error()}}
	}
	t.jaeger = &defaults
	problems := checkSampler(*defaults.Sampler)
	if r := t.jaeger.Reporter; r.BufferFlushInterval <= 0 {
		problems = append(problems, Problem{Name: "JAEGER_REPORTER_FLUSH_INTERVAL", Value: r.BufferFlushInterval.String(), Allowed: "must be above zero"})
	} else if r.QueueSize <= 0 {
		problems = append(problems, Problem{Name: "JAEGER_REPORTER_MAX_QUEUE_SIZE", Value: strconv.Itoa(r.QueueSize), Allowed: "must be above zero"})
	}
	return problems
}

func checkSampler(s config.SamplerConfig) []Problem {
	switch strings.ToLower(s.Type) {
	case jaeger.SamplerTypeConst, jaeger.SamplerTypeRateLimiting:
	case jaeger.SamplerTypeProbabilistic, jaeger.SamplerTypeRemote:
		if s.Param < 0 || s.Param > 1 {
			return []Problem{{Name: "JAEGER_SAMPLER_PARAM", Value: fmt.Sprint(s.Param), Allowed: "must be 0 to 1 with sampler " + s.Type}}
		}
	default:
		return []Problem{{Name: "JAEGER_SAMPLER_TYPE", Value: s.Type, Allowed: "must be one of const, probabilistic, ratelimiting, remote"}}
	}
	return nil
}

// Config returns the settings of the tracer of a service, whose name JAEGER_SERVICE_NAME overrides.
func (t Tracing) Config(service string, log *slog.Logger) tracing.Config {
	if t.jaeger.ServiceName != "" {
		service = t.jaeger.ServiceName
	}
	endpoint := t.Collector.Endpoint
	if endpoint.Host == "" {
		endpoint = url.URL{Scheme: "http", Host: "localhost:14268", Path: "/api/traces"}
	}
	cluster := t.Kafka.Cluster()
	cluster.ClientID = service + "-tracing"
	return tracing.Config{
		Service:       service,
		Transport:     t.Transport,
		Kafka:         cluster,
		Topic:         t.Topic,
		SpoolDir:      t.SpoolDir,
		Endpoint:      endpoint.String(),
		User:          t.Collector.User,
		Password:      t.Collector.Password,
		Sampler:       *t.jaeger.Sampler,
		Tags:          t.jaeger.Tags,
		Gen128Bit:     t.jaeger.Gen128Bit,
		Disabled:      t.jaeger.Disabled,
		LogSpans:      t.jaeger.Reporter.LogSpans,
		FlushInterval: t.jaeger.Reporter.BufferFlushInterval,
		QueueSize:     t.jaeger.Reporter.QueueSize,
		Logger:        log,
	}
}

// Group are the settings of a member of a consumer group.
type Group struct {
	SessionTimeout time.Duration `env:"SESSION_TIMEOUT" envDefault:"10s" help:"silence after which a member of the group counts as dead"`
	InstanceID     string        `env:"GROUP_INSTANCE_ID" help:"name of this member that stays over restarts (static membership)"`
}

// Addr is an address to listen on: host:port, where no host means all interfaces. A program with an HTTP server has one, named
// HTTP_ADDR, and --healthcheck asks there.
type Addr string

// UnmarshalText implements encoding.TextUnmarshaler.
func (a *Addr) UnmarshalText(text []byte) error {
	if _, port, err := net.SplitHostPort(string(text)); err != nil || port == "" {
		return errors.New("host:port or :port")
	}
	*a = Addr(text)
	return nil
}

// Topics are the names of all topics but TRACING_TOPIC.
type Topics struct {
	Number   string `env:"NUMBER_TOPIC" envDefault:"number-topic" help:"topic with the numbers"`
	Odd      string `env:"ODD_TOPIC" envDefault:"odd-topic" help:"topic with the odd ones"`
	Even     string `env:"EVEN_TOPIC" envDefault:"even-topic" help:"topic with the even ones"`
	Sentence string `env:"SENTENCE_TOPIC" envDefault:"sentence-topic" help:"topic with the sentences"`
	Answer   string `env:"ANSWER_TOPIC" envDefault:"answer-topic" help:"topic with the answers"`

	NumberDLQ   string `env:"NUMBER_DLQ" envDefault:"number-dlq" help:"topic with what stream set aside"`
	EvenDLQ     string `env:"EVEN_DLQ" envDefault:"even-dlq" help:"topic with what sentence set aside"`
	SentenceDLQ string `env:"SENTENCE_DLQ" envDefault:"sentence-dlq" help:"topic with what answer set aside"`
	AnswerDLQ   string `env:"ANSWER_DLQ" envDefault:"answer-dlq" help:"topic with what Kafka Connect set aside"`
	TracingDLQ  string `env:"TRACING_DLQ" envDefault:"tracing-dlq" help:"topic with what relay set aside"`
}
