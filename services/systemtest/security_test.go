package systemtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"fault-tolerant-tracing/tracing/tracingtest"
)

const scramLogin = "org.apache.kafka.common.security.scram.ScramLoginModule required;"

// Every client of every service reaches a Kafka that wants a password, or
// encryption and a password, or a certificate, and one that does so for the data
// in another way than for the spans.
func TestRealKafkaWithTLSAndPasswords(t *testing.T) {
	t.Parallel()
	certs := newAuthority(t)
	password, both, certificate := tracingtest.FreeAddr(t), tracingtest.FreeAddr(t), tracingtest.FreeAddr(t)
	k := startKafka(t, 1, map[string]string{
		"listener.security.protocol.map":                        "PLAIN:PLAINTEXT,CONTROLLER:PLAINTEXT,PASSWORD:SASL_PLAINTEXT,BOTH:SASL_SSL,CERTIFICATE:SSL",
		"sasl.enabled.mechanisms":                               "SCRAM-SHA-256,SCRAM-SHA-512",
		"listener.name.password.scram-sha-256.sasl.jaas.config": scramLogin,
		"listener.name.password.scram-sha-512.sasl.jaas.config": scramLogin,
		"listener.name.both.scram-sha-256.sasl.jaas.config":     scramLogin,
		"listener.name.both.scram-sha-512.sasl.jaas.config":     scramLogin,
		"listener.name.certificate.ssl.client.auth":             "required",
		"ssl.keystore.type":                                     "PEM",
		"ssl.keystore.location":                                 certs.pair,
		"ssl.truststore.type":                                   "PEM",
		"ssl.truststore.location":                               certs.ca,
	}, "PASSWORD://"+password, "BOTH://"+both, "CERTIFICATE://"+certificate)
	s := newSystemOn(t, k, k, kafkaPatience)

	var next int64 = 1
	for name, settings := range map[string][]string{
		"a password":                clientEnv("", password, "SASL_PLAINTEXT", login("SCRAM-SHA-256")),
		"encryption and a password": clientEnv("", both, "SASL_SSL", login("SCRAM-SHA-512"), "TLS_CA_FILE="+certs.ca),
		"a certificate":             clientEnv("", certificate, "SSL", "TLS_CA_FILE="+certs.ca, "TLS_CERT_FILE="+certs.cert, "TLS_KEY_FILE="+certs.key),
		"one for the data, another for tracing": append(
			clientEnv("", certificate, "SSL", "TLS_CA_FILE="+certs.ca, "TLS_CERT_FILE="+certs.cert, "TLS_KEY_FILE="+certs.key),
			clientEnv("TRACING_", both, "SASL_SSL", login("SCRAM-SHA-256"), "TLS_CA_FILE="+certs.ca)...),
	} {
		s.extra = settings
		s.startAll()
		s.feed(next, next+10)
		next += 10
		s.complete()
		for _, name := range programs[1:] {
			s.stop(name)
		}
		t.Log(name, "will do")
	}

	s.extra = append(clientEnv("", both, "SASL_SSL", login("SCRAM-SHA-512"), "TLS_CA_FILE="+certs.ca), "KAFKA_SASL_PASSWORD=wrong")
	for _, name := range []string{"stream", "sentence", "answer", "relay"} {
		s.start(name)
		s.eventually(name+" says that it may not log in", func() (string, bool) {
			log := s.logOf(name)
			return log, strings.Contains(log, "Authentication failed")
		})
		s.stop(name)
	}
}

// clientEnv returns the settings of a client; prefix is that of their names.
func clientEnv(prefix, addr, protocol string, settings ...string) []string {
	env := []string{prefix + "KAFKA_BROKERS=" + addr, prefix + "KAFKA_SECURITY_PROTOCOL=" + protocol}
	for _, lines := range settings {
		for line := range strings.SplitSeq(lines, "\n") {
			env = append(env, prefix+"KAFKA_"+line)
		}
	}
	if prefix == "" {
		env = append(env, "TRACING_KAFKA_BROKERS="+addr)
	}
	return env
}

func login(mechanism string) string {
	return "SASL_MECHANISM=" + mechanism + "\nSASL_USERNAME=" + scramUser + "\nSASL_PASSWORD=" + scramPassword
}

// authority is one that is trusted, and a certificate of its that is good for
// this machine as a server and as a client: PEM files.
type authority struct {
	ca, cert, key string
	pair          string // key and cert
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	root, rootKey := certificate(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: "authority of this test"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}, nil, nil)
	leaf, leafKey := certificate(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: "services"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, root, rootKey)
	secret, err := x509.MarshalPKCS8PrivateKey(leafKey)
	require.NoError(t, err)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.Raw})
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Raw})
	key := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})
	dir := t.TempDir()
	write := func(name string, text []byte) string {
		file := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(file, text, 0o600))
		return file
	}
	return authority{
		ca: write("ca.pem", ca), cert: write("cert.pem", cert), key: write("key.pem", key),
		pair: write("pair.pem", append(key, cert...)),
	}
}

// certificate makes a key and a certificate for it, signed by the parent or by
// itself.
func certificate(t *testing.T, template, parent *x509.Certificate, parentKey *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
	if parent == nil {
		parent, parentKey = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, parentKey)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return cert, key
}
