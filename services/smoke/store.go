package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"fault-tolerant-tracing/services/internal/connect"
	"fault-tolerant-tracing/services/internal/verdict"
)

const (
	answerTopic = "answer-topic" // and the index
	sink        = "elastic-sink"
	sinkClass   = "io.aiven.kafka.connect.opensearch.OpenSearchSinkConnector"
	maxHits     = 10_000 // that a search may return
)

// store compares the documents in the store with the records they are made of.
type store struct {
	url     string
	brokers []string
	connect *connect.Client
}

func (s store) check(ctx context.Context) error {
	records, err := verdict.ReadTopics(ctx, s.brokers, answerTopic)
	if err != nil {
		return err
	}
	want := map[string]any{} // by the id that the sink gives
	for _, r := range records {
		document, err := answer(r)
		if err != nil {
			return err
		}
		want[fmt.Sprintf("%s+%d+%d", r.Topic, r.Partition, r.Offset)] = document
	}
	installed, err := s.connect.Installed(ctx, sinkClass)
	if err != nil {
		return err
	}
	if !installed {
		fmt.Printf("the sink is not installed: nothing is written to the store; the %d documents are right on %s\n", len(want), answerTopic)
		return nil
	}
	return until(ctx, func() error { return s.compare(ctx, want) })
}

// answer reads a record of answer-topic, and checks its sum.
func answer(r *kgo.Record) (document map[string]any, err error) {
	var a struct {
		Number, Random, Answer     int64
		Sentence, CompleteSentence string
	}
	if err := errors.Join(json.Unmarshal(r.Value, &a), json.Unmarshal(r.Value, &document)); err != nil {
		return nil, fmt.Errorf("record at partition %d, offset %d of %s: %w", r.Partition, r.Offset, answerTopic, err)
	}
	sentence := fmt.Sprintf("%d + %d", a.Number, a.Random)
	complete := fmt.Sprintf("%s = %d", sentence, a.Answer)
	if a.Answer != a.Number+a.Random || a.Sentence != sentence || a.CompleteSentence != complete {
		return nil, fmt.Errorf("wrong answer at partition %d, offset %d of %s: %s", r.Partition, r.Offset, answerTopic, r.Value)
	}
	return document, nil
}

// compare is nil when the store holds each document, and as it was written.
func (s store) compare(ctx context.Context, want map[string]any) error {
	if status, found, err := s.connect.Status(ctx, sink); err != nil || found && status.Failed() != "" {
		return errors.Join(err, fmt.Errorf("%s %s", sink, status.Failed()))
	}
	got, err := s.documents(ctx)
	if err != nil {
		return err
	}
	missing := 0
	for id, document := range want {
		if got[id] == nil {
			missing++
		} else if !reflect.DeepEqual(got[id], document) {
			return fmt.Errorf("document %s is %v in the store, and was written as %v", id, got[id], document)
		}
	}
	if missing > 0 && len(got) < maxHits {
		return fmt.Errorf("%d of %d documents are not in the store", missing, len(want))
	}
	fmt.Printf("the store has the %d documents\n", len(want)-missing)
	return nil
}

// documents returns what the store has, by id.
func (s store) documents(ctx context.Context) (map[string]any, error) {
	url := fmt.Sprintf("%s/%s/_search?size=%d", strings.TrimRight(s.url, "/"), answerTopic, maxHits)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask the store: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return nil, errors.Join(err, fmt.Errorf("the store answers with %s: %.300s", resp.Status, body))
	}
	var found struct {
		Hits struct {
			Hits []struct {
				ID     string         `json:"_id"`
				Source map[string]any `json:"_source"`
			} `json:"hits"`
		} `json:"hits"`
	}
	if err := json.Unmarshal(body, &found); err != nil {
		return nil, fmt.Errorf("the store's answer: %w", err)
	}
	documents := map[string]any{}
	for _, hit := range found.Hits.Hits {
		documents[hit.ID] = hit.Source
	}
	return documents, nil
}
