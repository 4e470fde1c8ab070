// Command connect-config registers the connectors at Kafka Connect, and exits when they run.
//
// It waits for Kafka Connect, and sets what is there already to the settings wanted, so that it can be run any time, and again. A
// connector whose plugin is not installed is left out with a line in the log.
package main

import (
	"context"
	"errors"
	"log/slog"
	"os"

	"fault-tolerant-tracing/services/internal/connect"
	"fault-tolerant-tracing/services/internal/service"
)

const doc = `connect-config registers the connectors of CONNECTOR_FILES at Kafka Connect,
waiting for it if need be, and exits 0 when every one of them runs, and only then.

A connector that exists is given the settings of its file. One whose plugin is
not installed is left out, and a line of the log says so. With CONNECTORS=manual
it does nothing.`

func main() { os.Exit(service.Main("connect-config", doc, run)) }

func run(ctx context.Context, cfg config, log *slog.Logger) error {
	if cfg.Mode == manual {
		log.Info("CONNECTORS=manual: the connectors are left to be registered by hand")
		return nil
	}
	var connectors []connect.Connector
	for _, file := range cfg.Files {
		c, err := read(file)
		if err != nil {
			return err
		}
		connectors = append(connectors, c)
	}
	r := registrar{client: connect.NewClient(cfg.ConnectURL.String()), log: log}
	for _, c := range connectors {
		if err := r.register(ctx, c); err != nil {
			if ctx.Err() != nil {
				return errors.New("stopped before every connector ran")
			}
			return err
		}
	}
	return nil
}
