package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"
)

const postFor = 6 * time.Second

// direct measures posts straight to Jaeger, from a process of their own.
func (b *bench) direct(ctx context.Context, size, connections int) (result, error) {
	to, err := b.startCollector(ctx)
	if err != nil {
		return result{}, err
	}
	defer to.stop()
	self, err := os.Executable()
	if err != nil {
		return result{}, err
	}
	all := parts{collector: to.child, kafka: b.kafka.child}
	before := all.cpu()
	var answer bytes.Buffer
	client, err := startChild("post", b.work, nil, &answer, self, "post", "--url", to.urls.thrift,
		"--connections", strconv.Itoa(connections), "--spans", strconv.Itoa(size), "--for", postFor.String())
	if err != nil {
		return result{}, err
	}
	if err := client.wait(ctx); err != nil {
		return result{}, err
	}
	cost := all.cpu().minus(before)
	cost.sender = client.cmd.ProcessState.UserTime() + client.cmd.ProcessState.SystemTime()
	var p posted
	if err := json.Unmarshal(answer.Bytes(), &p); err != nil {
		return result{}, fmt.Errorf("read what the client posted: %w", err)
	}
	taken, err := to.stored(ctx)
	if err == nil && taken != p.Spans {
		err = fmt.Errorf("%d spans were answered with 202, and %d are stored", p.Spans, taken)
	}
	return result{spans: p.Spans, took: p.Took, cpu: cost}, err
}

// ingester measures Jaeger's own ingester.
func (b *bench) ingester(ctx context.Context, from backlog, markAfter bool) (result, error) {
	b.groups++
	j, err := b.startIngester(ctx, ingest{
		brokers: b.kafka.addr, topic: from.topic, group: fmt.Sprintf("ingester-%d", b.groups), markAfter: markAfter,
	})
	if err != nil {
		return result{}, err
	}
	defer j.stop()
	var profile errgroup.Group
	res, err := parts{collector: j.child, kafka: b.kafka.child}.watch(ctx, from.total(), j.stored, func() {
		profile.Go(func() error { return b.saveProfile(ctx, "ingester-"+from.topic, j.pprof) })
	})
	return res, errors.Join(err, profile.Wait())
}
