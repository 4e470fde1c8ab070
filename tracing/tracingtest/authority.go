package tracingtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Authority issues certificates for 127.0.0.1, good for servers and clients.
type Authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewAuthority makes an authority that nobody trusts yet.
func NewAuthority(t testing.TB) *Authority {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority of this test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	return &Authority{cert: sign(t, template, template, key, key), key: key}
}

// ServerTLS is that of a server which has a certificate of the authority and lets
// only clients in that have one, too.
func (a *Authority) ServerTLS(t testing.TB) *tls.Config {
	t.Helper()
	cert, key := a.Issue(t, time.Now().Add(time.Hour))
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: a.pool()}
}

// ClientTLS is that of a client which such a server lets in.
func (a *Authority) ClientTLS(t testing.TB) *tls.Config {
	c := a.ServerTLS(t)
	return &tls.Config{Certificates: c.Certificates, RootCAs: c.ClientCAs}
}

func (a *Authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// Issue returns a new certificate that is good until then, and its key, in PEM.
func (a *Authority) Issue(t testing.TB, until time.Time) (cert, key []byte) {
	t.Helper()
	private := newKey(t)
	issued := sign(t, &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "issued"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: until,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, a.cert, private, a.key)
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return encode("CERTIFICATE", issued.Raw), encode("PRIVATE KEY", der)
}

// PEMFiles are the files of a client: the authority it trusts, its certificate and
// its key.
type PEMFiles struct{ CA, Cert, Key string }

// NewPEMFiles names files in a directory of the test, and writes what a client
// needs into them; its certificate is good until then.
func (a *Authority) NewPEMFiles(t testing.TB, until time.Time) PEMFiles {
	t.Helper()
	dir := t.TempDir()
	f := PEMFiles{CA: filepath.Join(dir, "ca.pem"), Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem")}
	a.WriteCA(t, f)
	a.Renew(t, f, until)
	return f
}

// WriteCA makes the authority the one that is trusted.
func (a *Authority) WriteCA(t testing.TB, f PEMFiles) {
	t.Helper()
	WriteFile(t, f.CA, encode("CERTIFICATE", a.cert.Raw))
}

// Renew writes another certificate and its key.
func (a *Authority) Renew(t testing.TB, f PEMFiles, until time.Time) {
	t.Helper()
	cert, key := a.Issue(t, until)
	WriteFile(t, f.Cert, cert)
	WriteFile(t, f.Key, key)
}

// WriteFile puts content into a file in one step, as one that is renamed.
func WriteFile(t testing.TB, name string, content []byte) {
	t.Helper()
	if err := os.WriteFile(name+".new", content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		t.Fatal(err)
	}
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func sign(t testing.TB, template, parent *x509.Certificate, key, parentKey *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), parentKey)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}
