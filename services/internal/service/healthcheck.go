package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"reflect"
	"strings"
	"time"

	"fault-tolerant-tracing/services/internal/printable"
)

const healthTimeout = 3 * time.Second

// HealthChecker is implemented by the settings of a program without an HTTP server: what --healthcheck is to look at instead.
// It returns nil if all is well, within ctx.
type HealthChecker interface {
	HealthCheck(ctx context.Context) error
}

// healthcheck tells by exit code and a sentence whether the program that runs with these settings is well.
func (p program[C]) healthcheck(cfg C) int {
	ctx, cancel := context.WithTimeout(context.Background(), healthTimeout)
	defer cancel()
	check := func(ctx context.Context) error { return askHealth(ctx, httpAddr(&cfg)) }
	if c, ok := any(cfg).(HealthChecker); ok {
		check = c.HealthCheck
	}
	if err := check(ctx); err != nil {
		fmt.Fprintf(p.stderr, "%s is not well: %s\n", p.name, printable.Line(err.Error()))
		return exitFailed
	}
	fmt.Fprintf(p.stdout, "%s is well\n", p.name)
	return exitOK
}

// httpAddr finds the setting HTTP_ADDR.
func httpAddr(cfg any) Addr {
	var addr Addr
	walk(reflect.ValueOf(cfg).Elem(), "", "", nil, func(s setting) {
		if s.name == "HTTP_ADDR" {
			addr = Addr(s.value.String())
		}
	}, func(string, Checker) {})
	return addr
}

func askHealth(ctx context.Context, addr Addr) error {
	host, port, err := net.SplitHostPort(string(addr))
	if err != nil {
		return fmt.Errorf("HTTP_ADDR: %w", err)
	}
	if ip := net.ParseIP(host); host == "" || ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(host, port)+"/healthz", nil)
	if err != nil {
		return err
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // no proxy from the environment
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status + ": " + strings.TrimSpace(string(body)))
	}
	return nil
}
