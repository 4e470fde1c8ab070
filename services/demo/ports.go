package main

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"syscall"
)

// host is where everything listens: the demo is for this machine only.
const host = "127.0.0.1"

// ports are what the demo listens on.
type ports struct {
	Kafka, OTLP, JaegerCollector, JaegerQuery int
	Stream, Sentence, Answer, Random, Relay   int // HTTP_ADDR of each
	Console                                   int
}

// defaultPorts are those of the README, and the defaults of the settings.
var defaultPorts = ports{
	Kafka: 9092, OTLP: 4318, JaegerCollector: 14268, JaegerQuery: 16686,
	Stream: 8093, Sentence: 8094, Answer: 8095, Random: 8096, Relay: 8097, Console: 8080,
}

func addr(port int) string    { return net.JoinHostPort(host, strconv.Itoa(port)) }
func httpURL(port int) string { return "http://localhost:" + strconv.Itoa(port) }

// checkFree returns an error of one sentence when a port is taken. It tries the port on all addresses and on 127.0.0.1, as some
// systems allow the one beside the other.
func (p ports) checkFree() error {
	var taken []string
	for _, wanted := range []struct {
		port int
		who  string
	}{
		{p.Kafka, "the Kafka broker"}, {p.OTLP, "Jaeger's OTLP receiver"}, {p.JaegerCollector, "Jaeger's collector"}, {p.JaegerQuery, "the Jaeger UI"},
		{p.Stream, "stream"}, {p.Sentence, "sentence"}, {p.Answer, "answer"}, {p.Random, "random"}, {p.Relay, "relay"}, {p.Console, "console"},
	} {
		for _, address := range []string{addr(wanted.port), ":" + strconv.Itoa(wanted.port)} {
			listener, err := net.Listen("tcp", address)
			if errors.Is(err, syscall.EADDRINUSE) {
				taken = append(taken, fmt.Sprintf("%d (for %s)", wanted.port, wanted.who))
				break
			}
			if err != nil {
				return fmt.Errorf("port %d (for %s) cannot be used: %w", wanted.port, wanted.who, err)
			}
			_ = listener.Close()
		}
	}
	const advice = "is another demo running, or something else that must be stopped first?"
	switch len(taken) {
	case 0:
		return nil
	case 1:
		return fmt.Errorf("port %s is taken: %s", taken[0], advice)
	default:
		return fmt.Errorf("ports %s are taken: %s", strings.Join(taken, ", "), advice)
	}
}
