package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"fault-tolerant-tracing/services/internal/service"
	"fault-tolerant-tracing/tracing/kafkaclient"
	"fault-tolerant-tracing/tracing/tracingtest"

	"github.com/IBM/sarama"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
)

// connect reaches the broker as stream does.
func connect(t *testing.T, b *tracingtest.Broker, s kafkaclient.Security) error {
	t.Helper()
	c, err := saramaConfig(kafkaclient.Cluster{Security: s}, service.Group{SessionTimeout: 10 * time.Second})
	require.NoError(t, err)
	c.Metadata.Retry.Max = 0
	client, err := sarama.NewClient([]string{b.Addr()}, c)
	if err != nil {
		return err
	}
	defer func() { assert.NoError(t, client.Close()) }()
	_, err = client.Controller()
	return err
}

func TestItLogsInBySASL(t *testing.T) {
	for _, mechanism := range []string{"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"} {
		t.Run(mechanism, func(t *testing.T) {
			b := tracingtest.StartBroker(t, kfake.EnableSASL(), kfake.Superuser(mechanism, "stream", "secret"))
			login := kafkaclient.Security{Protocol: "SASL_PLAINTEXT", SASLMechanism: mechanism, SASLUsername: "stream", SASLPassword: "secret"}
			assert.NoError(t, connect(t, b, login))
			login.SASLPassword = "wrong"
			assert.Error(t, connect(t, b, login))
		})
	}
}

func TestItTrustsOnlyTheAuthorityItIsGiven(t *testing.T) {
	pair, file := newCertificate(t)
	b := tracingtest.StartBroker(t, kfake.TLS(&tls.Config{Certificates: []tls.Certificate{pair}}))
	assert.NoError(t, connect(t, b, kafkaclient.Security{Protocol: "SSL", TLSCAFile: file}))
	assert.Error(t, connect(t, b, kafkaclient.Security{Protocol: "SSL"}))
}

func TestItShowsItsCertificate(t *testing.T) {
	pair, file := newCertificate(t)
	authorities := x509.NewCertPool()
	authorities.AddCert(pair.Leaf)
	b := tracingtest.StartBroker(t, kfake.TLS(&tls.Config{
		Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: authorities,
	}))
	assert.NoError(t, connect(t, b, kafkaclient.Security{Protocol: "SSL", TLSCAFile: file, TLSCertFile: file, TLSKeyFile: file}))
	assert.Error(t, connect(t, b, kafkaclient.Security{Protocol: "SSL", TLSCAFile: file}))
}

func TestUnusableTLSFilesAreNamed(t *testing.T) {
	_, file := newCertificate(t)
	empty := filepath.Join(t.TempDir(), "empty.pem")
	require.NoError(t, os.WriteFile(empty, nil, 0o600))
	for _, s := range []kafkaclient.Security{
		{Protocol: "SSL", TLSCAFile: "missing.pem"},
		{Protocol: "SSL", TLSCAFile: empty},
		{Protocol: "SASL_SSL", TLSCertFile: empty, TLSKeyFile: file},
	} {
		_, err := saramaConfig(kafkaclient.Cluster{Security: s}, service.Group{SessionTimeout: 10 * time.Second})
		assert.ErrorContains(t, err, "kafka TLS")
	}
}

func TestTheConfigurationLosesNothing(t *testing.T) {
	c, err := saramaConfig(kafkaclient.Cluster{}, service.Group{SessionTimeout: 6 * time.Second, InstanceID: "one"})
	require.NoError(t, err)
	assert.Equal(t, sarama.OffsetOldest, c.Consumer.Offsets.Initial)
	assert.Equal(t, sarama.WaitForAll, c.Producer.RequiredAcks)
	assert.False(t, c.Metadata.AllowAutoTopicCreation)
	assert.Equal(t, 6*time.Second, c.Consumer.Group.Session.Timeout)
	assert.Equal(t, "one", c.Consumer.Group.InstanceId)
}

func TestTheConfigurationNoticesWhatHappens(t *testing.T) {
	c, err := saramaConfig(kafkaclient.Cluster{}, service.Group{SessionTimeout: 10 * time.Second})
	require.NoError(t, err)
	assert.Equal(t, 15*time.Second, c.Metadata.RefreshFrequency, "twice this is within a minute")
	assert.Equal(t, 5*time.Second, c.Net.DialTimeout)
	assert.Equal(t, 15*time.Second, c.Net.ReadTimeout)
	assert.Greater(t, c.Net.ReadTimeout, c.Consumer.Group.Rebalance.Timeout, "joining waits at the broker")
	assert.Greater(t, c.Net.ReadTimeout, c.Producer.Timeout, "so does producing")
}

// newCertificate returns a self-signed certificate for 127.0.0.1, and a file
// with it and its key.
func newCertificate(t *testing.T) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	text := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})...)
	file := filepath.Join(t.TempDir(), "both.pem")
	require.NoError(t, os.WriteFile(file, text, 0o600))
	pair, err := tls.X509KeyPair(text, text)
	require.NoError(t, err)
	return pair, file
}
