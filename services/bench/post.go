package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
)

// post is a client that sends batches straight to the collector, as fast as the
// collector takes them.
type post struct {
	URL         string
	Connections int
	Size        int           // spans in a batch
	For         time.Duration // how long
}

// posted is what it tells on its standard output.
type posted struct {
	Spans int           // answered with 202
	Took  time.Duration // from the first post to the last answer
}

func postCommand() *cobra.Command {
	var p post
	cmd := &cobra.Command{
		Use:    "post",
		Short:  "Post batches to a collector and print how many spans it took",
		Hidden: true, // the benchmark starts it
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := p.run(cmd.Context())
			if err != nil {
				return err
			}
			return json.NewEncoder(cmd.OutOrStdout()).Encode(r)
		},
	}
	cmd.Flags().StringVar(&p.URL, "url", "", "of the collector")
	cmd.Flags().IntVar(&p.Connections, "connections", 1, "how many are open, with one post at a time on each")
	cmd.Flags().IntVar(&p.Size, "spans", 9, "in a batch")
	cmd.Flags().DurationVar(&p.For, "for", time.Second, "how long")
	return cmd
}

// run returns when the time is over; the first answer that is not 202 ends it
// with an error.
func (p post) run(ctx context.Context) (posted, error) {
	connections, err := p.streams()
	if err != nil {
		return posted{}, err
	}
	transport := &http.Transport{MaxConnsPerHost: p.Connections, MaxIdleConnsPerHost: p.Connections, DisableCompression: true}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	spans := make([]int, p.Connections)
	begin := time.Now()
	work, ctx := errgroup.WithContext(ctx)
	for i, streams := range connections {
		work.Go(func() error {
			for n := 0; time.Since(begin) < p.For; n++ {
				if err := p.send(ctx, client, streams[n%len(streams)].next()); err != nil {
					return err
				}
				spans[i] += p.Size
			}
			return nil
		})
	}
	err = work.Wait()
	result := posted{Took: time.Since(begin)}
	for _, n := range spans {
		result.Spans += n
	}
	return result, err
}

// streams deals the client processes out to the connections.
func (p post) streams() ([][]*stream, error) {
	connections := make([][]*stream, p.Connections)
	for client := range max(clients, p.Connections) {
		s, err := newStream(client, p.Size, asThrift)
		if err != nil {
			return nil, err
		}
		i := client % p.Connections
		connections[i] = append(connections[i], s)
	}
	return connections, nil
}

func (p post) send(ctx context.Context, client *http.Client, batch []byte) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, p.URL+"?format=jaeger.thrift", bytes.NewReader(batch))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/x-thrift")
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("post a batch: %w", err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusAccepted {
		err = fmt.Errorf("post a batch: %s: %s", response.Status, answer)
	}
	return err
}
