package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"fault-tolerant-tracing/services/internal/connect"
	"fault-tolerant-tracing/services/internal/verdict"
)

const (
	answerTopic = "answer-topic" // and the index
	sink        = "elastic-sink"
	sinkClass   = "io.aiven.kafka.connect.opensearch.OpenSearchSinkConnector"
	perQuestion = 500 // documents
)

// store compares the documents in the store with the records they are made of.
type store struct {
	url     string
	brokers []string
	connect *connect.Client

	progress func() // called when documents have been compared
}

func (s store) check(ctx context.Context) error {
	installed := false
	err := until(ctx, func() (err error) { // it answers with 404 while it starts
		installed, err = s.connect.Installed(ctx, sinkClass)
		return err
	})
	if err != nil {
		return err
	}
	total, want := 0, map[string]any{} // by the id that the sink gives
	compare := func() error {
		s.progress()
		total += len(want)
		defer clear(want)
		if !installed || len(want) == 0 {
			return nil
		}
		return until(ctx, func() error { return s.compare(ctx, want) })
	}
	err = verdict.Scan(ctx, s.brokers, func(r *kgo.Record) error {
		document, err := answer(r)
		if err != nil {
			return err
		}
		want[fmt.Sprintf("%s+%d+%d", r.Topic, r.Partition, r.Offset)] = document
		if len(want) < perQuestion {
			return nil
		}
		return compare()
	}, answerTopic)
	if err == nil {
		err = compare()
	}
	if err != nil {
		return err
	}
	if installed {
		fmt.Printf("the store has the %d documents\n", total)
	} else {
		fmt.Printf("the sink is not installed (SINK=none, or it could not be downloaded): nothing is written to the store; "+
			"the %d documents are right on %s\n", total, answerTopic)
	}
	return nil
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
	got, err := s.documents(ctx, slices.Collect(maps.Keys(want)))
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
	if missing > 0 {
		return fmt.Errorf("%d of %d documents are not in the store", missing, len(want))
	}
	return nil
}

// documents returns those of these ids that the store has.
func (s store) documents(ctx context.Context, ids []string) (map[string]any, error) {
	question, err := json.Marshal(map[string][]string{"ids": ids})
	if err != nil {
		return nil, err
	}
	url := fmt.Sprintf("%s/%s/_mget", strings.TrimRight(s.url, "/"), answerTopic)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(question))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
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
		Docs []struct {
			ID     string         `json:"_id"`
			Source map[string]any `json:"_source"` // none when it is not there
		} `json:"docs"`
	}
	if err := json.Unmarshal(body, &found); err != nil {
		return nil, fmt.Errorf("the store's answer: %w", err)
	}
	documents := map[string]any{}
	for _, d := range found.Docs {
		if d.Source != nil {
			documents[d.ID] = d.Source
		}
	}
	return documents, nil
}
