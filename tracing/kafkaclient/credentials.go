package kafkaclient

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"
)

// files are the contents of the files that a Security names. Those it does not
// name are empty.
type files struct{ password, ca, cert, key string }

// read returns what the files hold now, or why that cannot be used: a file is
// missing, or is half written, or the certificate does not belong to the key yet.
func (s Security) read() (files, error) {
	var f files
	for _, one := range []struct {
		content *string
		name    string
	}{{&f.password, s.SASLPasswordFile}, {&f.ca, s.TLSCAFile}, {&f.cert, s.TLSCertFile}, {&f.key, s.TLSKeyFile}} {
		if one.name == "" {
			continue
		}
		content, err := os.ReadFile(one.name)
		if err != nil {
			return files{}, err
		}
		*one.content = string(content)
	}
	f.password = strings.TrimRight(f.password, "\r\n")
	switch {
	case s.SASLPasswordFile != "" && f.password == "":
		return files{}, errors.New("no password in " + s.SASLPasswordFile)
	case s.TLSCAFile != "" && !x509.NewCertPool().AppendCertsFromPEM([]byte(f.ca)):
		return files{}, errors.New("no certificate in " + s.TLSCAFile)
	case s.TLSCertFile != "":
		if _, err := tls.X509KeyPair([]byte(f.cert), []byte(f.key)); err != nil {
			return files{}, fmt.Errorf("certificate %s with key %s: %w", s.TLSCertFile, s.TLSKeyFile, err)
		}
	}
	return f, nil
}

// Credentials are what one client was made with: the contents of the files that
// its Security names. Refresh finds out that they have changed. They belong to
// one goroutine.
type Credentials struct {
	security  Security
	interval  time.Duration
	log       *slog.Logger
	used      files
	looked    time.Time
	complaint string // the last one that was logged
}

// Credentials returns those that a client has which is made from ConfigMap right
// after this call. A nil log means slog.Default().
func (c Cluster) Credentials(log *slog.Logger) *Credentials {
	used, _ := c.Security.read() // librdkafka says what is wrong with them
	return &Credentials{security: c.Security, interval: c.refreshInterval(), log: orDefault(log), used: used, looked: time.Now()}
}

// Login is a client that takes another password while it runs: a kafka.Consumer,
// kafka.Producer or kafka.AdminClient.
type Login interface {
	SetSaslCredentials(username, password string) error
}

// Refresh looks whether the files have changed, and returns true if the client
// that was made with them must be replaced by a new one, with Credentials of its
// own: librdkafka reads a certificate only once. A password is given to the client,
// which logs in with it from its next connection on; a client that is nil must be
// replaced for that, too. Files that cannot be used, because they are half written
// or do not fit each other, are left alone with a warning, and the client with them.
//
// It is made to be called often: it reads the files every RefreshInterval of the
// cluster and returns false at once in between. Contents are compared, not times,
// as Kubernetes swaps links.
func (c *Credentials) Refresh(client Login) (stale bool) {
	if time.Since(c.looked) < c.interval {
		return false
	}
	c.looked = time.Now()
	found, err := c.security.read()
	if err == nil && client != nil && found.password != c.used.password {
		if err = client.SetSaslCredentials(c.security.SASLUsername, found.password); err == nil {
			c.log.Info("kafka password has changed, logging in with the new one from now on", "file", c.security.SASLPasswordFile)
			c.used.password = found.password
		}
	}
	if err != nil {
		if c.complaint != err.Error() {
			c.log.Warn("kafka password or certificates cannot be used as they are now, keeping those from before", "err", err)
		}
		c.complaint = err.Error()
		return false
	}
	c.complaint = ""
	return found != c.used
}

// AwaitChange blocks until a client that was made with the credentials must be
// replaced, and returns true then, or until ctx ends. It is for clients that take
// no other password: those of other libraries.
func (c *Credentials) AwaitChange(ctx context.Context) bool {
	tick := time.NewTicker(c.interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
			if c.Refresh(nil) {
				return true
			}
		}
	}
}
