// Command console serves the control room: a page that shows what flows through the system, what waits while Jaeger is away, and
// what became of it; beside a demo it has buttons that cause an outage.
//
// It reads what everybody may read: offsets, groups and records of Kafka, the relay's /status, Jaeger's query API. Any of them may
// be away: the page says which. It joins no group, commits nothing and keeps nothing.
package main

import (
	"context"
	"errors"
	"log/slog"
	"os"

	"golang.org/x/sync/errgroup"

	"fault-tolerant-tracing/services/internal/service"
)

const doc = `console serves a page on HTTP_ADDR that shows the flow of numbers and spans as it is:
what waits on the topics while Jaeger is away, what was delivered, set aside or lost.

It only reads. With CONTROL_SOCKET it has buttons, for what the demo at that socket does;
without it the page shows the commands instead.`

func main() { os.Exit(service.Main("console", doc, run)) }

func run(ctx context.Context, cfg config, log *slog.Logger) (err error) {
	var teardown service.Teardown
	defer func() { err = errors.Join(err, teardown.Run(cfg.Common.ShutdownTimeout)) }()

	demo := newRemote(cfg.ControlSocket)
	watch, err := newWatch(cfg, demo, log)
	if err != nil {
		return err
	}
	teardown.Add("watch", watch.close)

	cfg.UIURL.User = nil // a password in it would be on the page
	work, ctx := errgroup.WithContext(ctx)
	page := page{ctx: ctx, watch: watch, demo: demo, cfg: cfg, token: newToken()}
	ops, err := service.Listen(cfg.HTTPAddr, log, page.routes)
	if err != nil {
		return err
	}
	teardown.Add("http server", ops.Close)
	ops.Ready(func() error { return nil })

	work.Go(func() error { return ops.Wait(ctx) })
	work.Go(func() error { return watch.run(ctx) })
	return work.Wait()
}
