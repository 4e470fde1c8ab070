package jaeger

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"
)

// waitReady returns when Jaeger answers, has ended, or ctx has.
func (p *Process) waitReady(ctx context.Context, r *run) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := p.answers(ctx)
		if err == nil && !r.ended() {
			return nil
		}
		select {
		case <-r.done:
			return fmt.Errorf("it ended early: %s", r.cmd.ProcessState)
		case <-ctx.Done():
			return fmt.Errorf("it does not answer: %w", err)
		case <-tick.C:
		}
	}
}

// answers asks the collector and the query API for a sign of life. The collector
// takes posts only.
func (p *Process) answers(ctx context.Context) error {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for url, want := range map[string]int{
		p.OTLPEndpoint():               http.StatusMethodNotAllowed,
		p.Endpoint():                   http.StatusMethodNotAllowed,
		p.QueryURL() + "/api/services": http.StatusOK,
	} {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			return fmt.Errorf("GET %s: status %s", url, resp.Status)
		}
	}
	return nil
}

// checkFree sees to it that what answers on port is the Jaeger that is started,
// and not one that was there before. It dials: a listener made to try the port
// would be copied into any process that is started meanwhile, and keep the port.
func checkFree(port int) error {
	if conn, err := net.Dial("tcp", net.JoinHostPort(host, strconv.Itoa(port))); err == nil {
		_ = conn.Close()
		return fmt.Errorf("port %d is taken", port)
	}
	return nil
}

// tail returns the last lines of a log file, for an error message.
func tail(file string) []byte {
	const lines = 10
	data, err := os.ReadFile(file)
	if err != nil {
		return []byte(err.Error())
	}
	all := bytes.Split(bytes.TrimSpace(data), []byte("\n"))
	return bytes.Join(all[max(0, len(all)-lines):], []byte("\n"))
}
