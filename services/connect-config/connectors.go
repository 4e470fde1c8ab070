package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"time"

	"fault-tolerant-tracing/services/internal/connect"
)

const (
	askAgain   = 500 * time.Millisecond // between two questions
	askTimeout = 5 * time.Second        // for one answer: Connect waits inside while it rebalances
	patience   = time.Minute            // for a connector to run once it is registered
)

// read reads a connector as one would POST it.
func read(file string) (c connect.Connector, err error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return c, fmt.Errorf("read a connector: %w", err)
	}
	if err := json.Unmarshal(content, &c); err != nil {
		return c, fmt.Errorf("read a connector: %s: %w", file, err)
	}
	if c.Name == "" || c.Class() == "" {
		return c, fmt.Errorf("read a connector: %s: no name, or no connector.class", file)
	}
	return c, nil
}

type registrar struct {
	client *connect.Client
	log    *slog.Logger
}

// register blocks until the connector runs. Its errors are that of ctx and a connector that fails, or does not come to run.
func (r registrar) register(ctx context.Context, c connect.Connector) error {
	var installed bool
	err := r.until(ctx, "waiting for kafka connect", func(ctx context.Context) (err error) {
		installed, err = r.client.Installed(ctx, c.Class())
		return err
	})
	if err != nil {
		return err
	}
	if !installed {
		r.log.Warn("connector left out: its plugin is not installed", "connector", c.Name, "class", c.Class())
		return nil
	}
	// Right after its start Connect refuses for some seconds (409): it is rebalancing.
	patient, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := r.until(patient, "registering", func(ctx context.Context) error { return r.client.Put(ctx, c) }); err != nil {
		return fmt.Errorf("register %s: %w", c.Name, err)
	}
	if err := r.until(patient, "waiting for the connector to run", func(ctx context.Context) error { return r.running(ctx, c.Name) }); err != nil {
		return fmt.Errorf("%s does not run: %w", c.Name, err)
	}
	r.log.Info("connector is running", "connector", c.Name)
	return nil
}

// running is nil when the connector runs.
func (r registrar) running(ctx context.Context, name string) error {
	status, found, err := r.client.Status(ctx, name)
	switch {
	case err != nil:
		return err
	case !found:
		return fmt.Errorf("not there yet")
	case status.Failed() != "":
		return fmt.Errorf("%s", status.Failed())
	case !status.Running():
		return fmt.Errorf("its tasks have not started")
	}
	return nil
}

// until calls try until it returns nil. It logs once what it waits for. When ctx ends, its error is the last one of try.
func (r registrar) until(ctx context.Context, waiting string, try func(context.Context) error) error {
	for said := false; ; said = true {
		asking, cancel := context.WithTimeout(ctx, askTimeout)
		err := try(asking)
		cancel()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return err
		}
		if !said {
			r.log.Info(waiting, "err", err)
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(askAgain):
		}
	}
}
