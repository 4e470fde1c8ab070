package main

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize/english"
	"github.com/spf13/cobra"

	"fault-tolerant-tracing/services/internal/archive"
	"fault-tolerant-tracing/services/internal/payload"
	"fault-tolerant-tracing/services/internal/printable"
	"fault-tolerant-tracing/services/internal/service"
)

// shownGaps is how many gaps of a partition are told one by one.
const shownGaps = 20

const archiveVerifyDoc = `verify reads every segment of an archive and checks it: its name against its
content, its checksum, the order and the number of its records, and whether each
of them holds spans. It exits 1 if a segment is broken.

It tells of offsets that the archive does not have, and of records that it has
more than once, which readers take once. Neither is a fault of the archive:
records that were removed before they were archived leave a gap, and so do the
marks of transactions; two archivers may write the same for a moment.`

func archiveVerifyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "verify URL",
		Short:   "Check every segment of an archive",
		Long:    archiveVerifyDoc,
		Example: "relay archive verify file:///var/lib/traces",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return fmt.Errorf("want one URL: file:///DIR or s3://BUCKET")
			}
			return nil
		},
	}
	return service.Command(cmd, func(ctx context.Context, format payload.Setting, args []string) error {
		return verifyArchive(ctx, args[0], format, cmd.OutOrStdout())
	})
}

func verifyArchive(ctx context.Context, url string, format payload.Setting, w io.Writer) error {
	storage, err := archive.Open(ctx, url)
	if err != nil {
		return err
	}
	defer storage.Close()
	began := time.Now()
	report, err := storage.Verify(ctx, format)
	if err != nil {
		return err
	}
	printReport(printable.Writer(w), report) // the names in an archive are those of its files
	segments, records, spans := len(report.Broken), int64(0), int64(0)
	for _, p := range report.Partitions {
		segments, records, spans = segments+p.Segments, records+p.Records, spans+p.Spans
	}
	switch {
	case segments == 0:
		return fmt.Errorf("archive %s: no segments", url)
	case len(report.Broken) > 0:
		return fmt.Errorf("archive %s: %d of %s broken", url, len(report.Broken), english.Plural(segments, "segment", ""))
	}
	fmt.Fprintf(w, "whole: %s with %s and %s, checked in %s\n", english.Plural(segments, "segment", ""),
		english.Plural(int(records), "record", ""), english.Plural(int(spans), "span", ""), time.Since(began).Round(time.Millisecond))
	return nil
}

func printReport(w io.Writer, report archive.Report) {
	if len(report.Partitions) > 0 {
		table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintln(table, "TOPIC\tID\tPARTITION\tSEGMENTS\tBYTES\tRECORDS\tSPANS\tNO BATCH\tOFFSETS\tFROM\tTO\tGAPS\tTWICE")
		for _, p := range report.Partitions {
			fmt.Fprintf(table, "%s\t%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d-%d\t%s\t%s\t%d\t%d\n", p.Topic, p.TopicID, p.Number, p.Segments, p.Bytes,
				p.Records, p.Spans, p.NotBatches, p.First, p.Last, stamp(p.From), stamp(p.To), len(p.Gaps), p.Overlaps)
		}
		_ = table.Flush()
	}
	for _, p := range report.Partitions {
		for i, gap := range p.Gaps {
			if i == shownGaps {
				fmt.Fprintf(w, "gap: partition %d of %s (%s): %d more\n", p.Number, p.Topic, p.TopicID, len(p.Gaps)-i)
				break
			}
			fmt.Fprintf(w, "gap: partition %d of %s (%s): offsets %d to %d\n", p.Number, p.Topic, p.TopicID, gap.First, gap.Last)
		}
	}
	for _, name := range report.Others {
		fmt.Fprintf(w, "no segment: %s\n", printable.Line(name))
	}
	for _, broken := range report.Broken {
		fmt.Fprintf(w, "broken: %s: %s\n", printable.Line(broken.Name), printable.Line(broken.Err.Error()))
	}
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
