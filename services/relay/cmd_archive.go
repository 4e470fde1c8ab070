package main

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"fault-tolerant-tracing/services/internal/archive"
	"fault-tolerant-tracing/services/internal/service"
)

type archiveConfig struct {
	Common       service.Common
	Group        service.Group
	Kafka        service.TracingKafka
	Topic        string `env:"TRACING_TOPIC" envDefault:"tracing-topic" help:"topic with the spans"`
	ArchiveGroup string `env:"ARCHIVE_GROUP" envDefault:"tracing-archive" help:"consumer group that all archivers share the partitions in"`
}

const archiveDoc = `archive copies tracing-topic to cheap storage, and goes on doing so until it is
stopped. What is there can be sent to a Jaeger by relay replay --archive, also
when the topic's retention is over.

URL is file:///DIR, a directory that exists, or s3://BUCKET. The bucket takes
?region=NAME, ?prefix=NAME/ and, for another S3 server than Amazon's,
?endpoint=http://HOST:PORT; credentials come from the environment, as for every
AWS client.

It writes compressed segments: of each partition, what has come in --every, or
16 MiB. A segment is visible only when it is whole. How far the archive has come
is seen from it alone: killed at any moment, the command goes on behind the last
segment, and a new archive begins with the first record that the topic still
has. Several of them, on several machines, share the partitions. While the
storage or Kafka is away it waits and skips nothing. It deletes nothing either:
how long segments are kept is for the storage to say.`

func archiveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "archive --to URL",
		Short: "Copy tracing-topic to a directory or an S3 bucket",
		Long:  archiveDoc,
		Example: `relay archive --to file:///var/lib/traces
relay archive --to 's3://traces?endpoint=http://minio:9000' --every 5m
relay archive --to file:///var/lib/traces --once`,
	}
	to := cmd.Flags().String("to", "", "`URL` of the archive")
	every := cmd.Flags().Duration("every", time.Minute, "`TIME` after which a segment is written at the latest")
	once := cmd.Flags().Bool("once", false, "archive all partitions up to their ends as of now, and exit")
	service.Command(cmd, func(ctx context.Context, cfg archiveConfig, _ []string) error {
		switch {
		case *to == "":
			return service.Usage("--to URL is missing: file:///DIR or s3://BUCKET")
		case *every <= 0:
			return service.Usage("--every %s: must be above zero", *every)
		}
		return runArchive(ctx, cfg, *to, *every, *once)
	})
	cmd.AddCommand(archiveVerifyCommand())
	return cmd
}

func runArchive(ctx context.Context, cfg archiveConfig, to string, every time.Duration, once bool) error {
	storage, err := archive.Open(ctx, to)
	if err != nil {
		return err
	}
	defer storage.Close()
	cluster := cfg.Kafka.Cluster()
	cluster.ClientID = "relay-archive"
	archiver, err := archive.New(archive.Config{
		Archive:        storage,
		Cluster:        cluster,
		Topic:          cfg.Topic,
		Group:          cfg.ArchiveGroup,
		InstanceID:     cfg.Group.InstanceID,
		SessionTimeout: cfg.Group.SessionTimeout,
		Every:          every,
		Once:           once,
		StopTimeout:    cfg.Common.ShutdownTimeout / 2,
		Log:            service.NewLogger("relay", cfg.Common),
	})
	if err != nil {
		return err
	}
	err = archiver.Run(ctx)
	if !once && ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil // stopped while it waited for Kafka: nothing was open
	}
	return err
}
