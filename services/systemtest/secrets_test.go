package systemtest

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"fault-tolerant-tracing/tracing/tracingtest"
)

// marker is a secret, and basic how it travels in a header.
const marker = "Geh3imnis"

var basic = base64.StdEncoding.EncodeToString([]byte("user:" + marker))

// everyCommand is every command that reads settings which may hold a secret.
var everyCommand = []string{
	"topic-config", "random", "stream", "sentence", "answer", "relay", "console", "otel-client", "connect-config", "smoke",
	"relay dlq list", "relay dlq show 1", "relay dlq redrive", "relay dlq drop 1",
	"relay replay --since 1m", "relay archive --to file:///",
}

// mayHold are the names of settings that hold a secret, or may: an address can have a password in it, and who has to name the file of
// one may give what is in it.
var mayHold = regexp.MustCompile(`\b[A-Z_]+(?:PASSWORD|HEADERS|URL|ENDPOINT|BROKERS|FILE|CERTIFICATE|KEY)\b`)

var isAddress = regexp.MustCompile(`(?:URL|ENDPOINT|BROKERS)$`)

// wrongAddresses hold a secret, and none of them can be used.
var wrongAddresses = []string{
	"user:" + marker + "@127.0.0.1:1",
	marker + "@127.0.0.1:1/api/traces",
	"http://user:" + marker + "@127.0.0.1:port",
	"http://user:" + marker + "/+/@127.0.0.1:1",
	"http://user:" + marker + " %x@127.0.0.1:1",
	"http://us er:p@ss " + marker + "@127.0.0.1:1",
	"kafka://user:" + marker + "@127.0.0.1:1",
	"http://user:" + marker + "@",
}

const notAFile = "-----BEGIN PRIVATE KEY-----\n" + marker + "\n-----END PRIVATE KEY-----\n"

func TestNoSecretOfAWrongSettingIsTold(t *testing.T) {
	t.Parallel()
	for _, command := range everyCommand {
		t.Run(command, func(t *testing.T) {
			t.Parallel()
			code, help := output(t, command+" --help")
			require.Equal(t, 0, code, help)
			names := mayHold.FindAllString(help, -1)
			slices.Sort(names)
			names = slices.Compact(names)
			require.NotEmpty(t, names)
			for i, address := range wrongAddresses {
				env := []string{"KAFKA_SECURITY_PROTOCOL=SASL_SSL", "KAFKA_SASL_MECHANISM=PLAIN", "KAFKA_SASL_USERNAME=user", "HTTP_PROXY=" + address}
				for _, name := range names {
					secret := strings.TrimSuffix(name, "_FILE")
					switch {
					case isAddress.MatchString(name):
						env = append(env, name+"="+address)
					case i%2 == 0 && slices.Contains(names, name+"_FILE"): // by turns the secret itself and the file with it
					case i%2 == 1 && secret != name && slices.Contains(names, secret):
					default:
						env = append(env, name+"="+notAFile)
					}
				}
				code, told := output(t, command, env...)
				assert.Equal(t, 2, code, told)
				assertNoSecret(t, told)
				if i == 0 {
					_, help := output(t, command+" --help", env...)
					assertNoSecret(t, help)
				}
			}
		})
	}
}

func TestNoSecretOnTheCommandLineIsTold(t *testing.T) {
	t.Parallel()
	commands := []string{
		"random --healthcheck=%s", "random --nothing=%s", "random %s", "relay dlq show %s", "relay dlq drop %s", "relay dlq redrive --endpoint=%s",
		"relay replay --since=1m --endpoint=%s", "relay replay --since=1m --jaeger=%s", "relay replay --trace=%s", "relay replay --archive=%s",
		"relay archive --to=%s", "relay archive verify %s",
	}
	for _, address := range append([]string{
		"s3://user:" + marker + "@bucket", "s3://user:" + marker + "@bucket?endpoint=http://127.0.0.1:1", "file://user:" + marker + "@host/x",
		"s3://bucket?endpoint=http://user:" + marker + "@127.0.0.1:1&awssdk=v1",
	}, wrongAddresses...) {
		for _, command := range commands {
			t.Run(strings.ReplaceAll(fmt.Sprintf(command, address), marker, "SECRET"), func(t *testing.T) {
				t.Parallel()
				var args []string
				for arg := range strings.SplitSeq(command, " ") {
					args = append(args, strings.ReplaceAll(arg, "%s", address))
				}
				code, told := outputOf(t, args, "KAFKA_BROKERS=127.0.0.1:1", "AWS_ACCESS_KEY_ID=user", "AWS_SECRET_ACCESS_KEY="+marker)
				assert.NotEqual(t, 0, code, told)
				assertNoSecret(t, told)
			})
		}
	}
}

// What runs with a secret tells it nowhere: not in its log, though all of it is
// logged, and not by HTTP.
func TestNoSecretIsToldByWhatRuns(t *testing.T) {
	t.Parallel()
	open := tracingtest.StartBroker(t)
	locked := tracingtest.StartBroker(t, kfake.EnableSASL(), kfake.Superuser("PLAIN", "user", marker))
	opposite := tracingtest.StartBroker(t, kfake.EnableSASL(), kfake.Superuser("PLAIN", "user", "another"))
	refusing := serve(t, http.StatusUnauthorized)
	secret := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(secret, []byte(marker), 0o600))

	brokers := func(b broker) []string { return []string{"KAFKA_BROKERS=" + b.Addr()} }
	login := func(b broker, password string) []string {
		return append(brokers(b), "KAFKA_SECURITY_PROTOCOL=SASL_PLAINTEXT", "KAFKA_SASL_MECHANISM=PLAIN", "KAFKA_SASL_USERNAME=user", password)
	}
	const away = "http://user:" + marker + "@127.0.0.1:1"
	right, rightFile := "KAFKA_SASL_PASSWORD="+marker, "KAFKA_SASL_PASSWORD_FILE="+secret
	for _, env := range [][]string{brokers(open), login(locked, right)} { // their traces are something to deliver
		code, told := output(t, "topic-config", append(env, "LOG_LEVEL=debug")...)
		require.Equal(t, 0, code, told)
		assertNoSecret(t, told)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(open.Addr()))
	require.NoError(t, err)
	t.Cleanup(client.Close)
	require.NoError(t, client.ProduceSync(t.Context(), &kgo.Record{Topic: "even-topic", Value: []byte("6")}).FirstErr())

	const rejected = `SASL authentication error|"kafka":\{"up":false`
	for _, tt := range []struct {
		name, command string
		env           []string
		until         string // what is told then, in the log or by HTTP
	}{
		{"a backend that wants another log-in", "relay", append(login(locked, rightFile),
			"OTEL_EXPORTER_OTLP_ENDPOINT="+"http://user:"+marker+"@"+refusing, "OTEL_EXPORTER_OTLP_HEADERS=authorization=Bearer "+marker+",x="+marker), `"last_error":.*401`},
		{"a Jaeger that wants another log-in", "relay", append(login(locked, right),
			"JAEGER_ENDPOINT="+"http://"+refusing+"/api/traces", "JAEGER_USER=user", "JAEGER_PASSWORD="+marker), `"last_error":.*401`},
		{"a backend that is away", "relay", append(login(locked, right), "OTEL_EXPORTER_OTLP_ENDPOINT="+away), `"last_error":.*connection refused`},
		{"a proxy that is away", "relay", append(login(locked, right),
			"OTEL_EXPORTER_OTLP_ENDPOINT=http://user:"+marker+"@backend.invalid:4318", "HTTP_PROXY="+away), `"last_error":.*connection refused`},
		{"a Jaeger that is away, without Kafka", "random", append(brokers(open), "TRACING_TRANSPORT=direct", "JAEGER_ENDPOINT="+away+"/api/traces"), "refused"},
		{"a Jaeger that says no, without Kafka", "random", append(brokers(open), "TRACING_TRANSPORT=direct",
			"JAEGER_ENDPOINT=http://"+refusing+"/api/traces", "JAEGER_USER=user", "JAEGER_PASSWORD_FILE="+secret), "401"},
		{"where to ask what to sample", "random", append(brokers(open), "JAEGER_SAMPLER_TYPE=remote", "JAEGER_SAMPLING_ENDPOINT="+away+"/sampling"), "sampling"},
		{"a random that is away", "sentence", append(brokers(open), "RANDOM_URL="+away), "refused"},
		{"peers that are away", "console", append(brokers(open), "RELAY_URL="+away, "RANDOM_URL="+away, "JAEGER_QUERY_URL="+away, "JAEGER_UI_URL="+away), "does not answer"},
		{"peers that are away", "smoke", append(brokers(open), "JAEGER_QUERY_URL="+away, "CONNECT_URL="+away, "STORE_URL="+away, "PATIENCE=2s"), "refused"},
		{"a Connect that is away", "connect-config", []string{"CONNECT_URL=" + away, "CONNECTOR_FILES=../../deploy/kafka-connect/file-source/file-source.json"}, "refused"},
		{"a random that is away", "otel-client", append(brokers(open), "RANDOM_URL="+away), "refused"},

		{"a password that is wrong", "topic-config", login(opposite, right), rejected},
		{"a password that is wrong", "random", login(opposite, rightFile), rejected},
		{"a password that is wrong", "stream", login(opposite, right), rejected},
		{"a password that is wrong", "sentence", login(opposite, right), rejected},
		{"a password that is wrong", "answer", login(opposite, rightFile), rejected},
		{"a password that is wrong", "relay", login(opposite, right), rejected},
		{"a password that is wrong", "console", login(opposite, right), rejected},
		{"a password that is wrong", "otel-client", append(login(opposite, right), "RANDOM_URL=http://"+refusing), rejected},
		{"a password that is wrong", "relay dlq list", login(opposite, right), rejected},
		{"a password that is wrong", "relay replay --since 1m", login(opposite, right), rejected},
		{"a password that is wrong", "relay archive --to file://" + t.TempDir(), login(opposite, right), rejected},
	} {
		t.Run(tt.command+", "+tt.name, func(t *testing.T) {
			t.Parallel()
			addr := tracingtest.FreeAddr(t)
			command := strings.Split(tt.command, " ")
			p := startProcess(t, tt.command, filepath.Join(t.TempDir(), "log"), environment(append(tt.env, "HTTP_ADDR="+addr, "LOG_LEVEL=debug")...),
				append([]string{filepath.Join(binDir, command[0])}, command[1:]...)...)
			t.Cleanup(func() { p.bury(t) })
			until := regexp.MustCompile(tt.until)
			eventually(t, patience, "it tells what is wrong", func() (string, bool) {
				running := p.running()
				log, err := os.ReadFile(p.log)
				require.NoError(t, err)
				told := string(log) + answers(addr)
				assertNoSecret(t, told)
				ok := until.MatchString(told)
				require.True(t, ok || running, "it ends, and has not told %s:\n%s", tt.until, log)
				return "", ok
			})
			if p.running() {
				_ = p.cmd.Process.Signal(os.Interrupt) // it may end by itself meanwhile
				p.ended(t, patience)
			}
			log, err := os.ReadFile(p.log)
			require.NoError(t, err)
			assertNoSecret(t, string(log))
		})
	}
}

// answers is all that a program answers at addr, to everybody.
func answers(addr string) (all string) {
	client := http.Client{Timeout: 2 * time.Second} // some answers have no end
	defer client.CloseIdleConnections()
	for _, path := range []string{
		"/", "/status", "/healthz", "/readyz", "/metrics", "/events", "/trace/1", "/nothing",
		"/debug/pprof/", "/debug/pprof/cmdline", "/debug/pprof/goroutine?debug=2", "/debug/pprof/heap?debug=1",
	} {
		resp, err := client.Get("http://" + addr + path)
		if err != nil {
			continue
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		all += fmt.Sprintln("\n", path, resp.Header, string(body))
	}
	if resp, err := client.Post("http://"+addr+"/random", "", nil); err == nil { // makes spans
		resp.Body.Close()
	}
	return all
}

// serve answers every request with a status, and returns where.
func serve(t *testing.T, status int) (addr string) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(status)
	}))
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

func assertNoSecret(t *testing.T, told string) {
	t.Helper()
	for line := range strings.Lines(told) {
		if strings.Contains(line, marker) || strings.Contains(line, basic) {
			t.Errorf("a secret is told: %s", line)
		}
	}
}

// output runs a command to its end, which is one because something is wrong.
func output(t *testing.T, command string, env ...string) (code int, told string) {
	t.Helper()
	return outputOf(t, strings.Split(command, " "), env...)
}

func outputOf(t *testing.T, args []string, env ...string) (code int, told string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(binDir, args[0]), args[1:]...)
	cmd.Env = environment(env...)
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		require.NoError(t, err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

// environment is that of a program which gets nothing of the test's own but what a program cannot do without.
func environment(env ...string) []string {
	return append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "AWS_EC2_METADATA_DISABLED=true"}, env...)
}
