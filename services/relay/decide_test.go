package main

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"

	"fault-tolerant-tracing/services/internal/collector"
	"fault-tolerant-tracing/services/internal/consume"
)

func TestDecide(t *testing.T) {
	two, one := newBatch(t, "a", "b"), newBatch(t, "a")
	garbage := []byte("no batch")
	for _, c := range []struct {
		name     string
		err      error
		value    []byte
		isolated int
		want     decision
	}{
		{"no connection", errors.New("refused"), two, 30, retry},
		{"400 and no batch", &collector.Refusal{Status: 400}, garbage, 0, giveUp},
		{"400 and a batch with something behind it", &collector.Refusal{Status: 400}, append(two[:len(two):len(two)], 0), 0, giveUp},
		{"400 for a batch, nothing else went through", &collector.Refusal{Status: 400}, two, 0, suspect},
		{"400 for a batch, others went through", &collector.Refusal{Status: 400}, two, 1, giveUp},
		{"413 for several spans", &collector.Refusal{Status: 413}, two, 0, split},
		{"413 for one span", &collector.Refusal{Status: 413}, one, 0, giveUp},
		{"413 and no batch", &collector.Refusal{Status: 413}, garbage, 0, giveUp},
		{"200 and a web page", &collector.Refusal{Status: 200}, two, 30, misconfigured},
		{"301", &collector.Refusal{Status: 301}, two, 30, misconfigured},
		{"304", &collector.Refusal{Status: 304}, two, 30, misconfigured},
		{"401", &collector.Refusal{Status: 401}, two, 30, misconfigured},
		{"404", &collector.Refusal{Status: 404}, garbage, 30, misconfigured},
		{"405", &collector.Refusal{Status: 405}, two, 30, misconfigured},
		{"415", &collector.Refusal{Status: 415}, two, 30, misconfigured},
		{"408", &collector.Refusal{Status: 408}, two, 30, retry},
		{"429", &collector.Refusal{Status: 429}, two, 30, retry},
		{"502", &collector.Refusal{Status: 502}, two, 30, retry},
		{"503", &collector.Refusal{Status: 503}, garbage, 30, retry},
		{"500, the 19th time that others went through", &collector.Refusal{Status: 500}, two, maxTries - 2, suspect},
		{"500, the 20th time that others went through", &collector.Refusal{Status: 500}, two, maxTries - 1, giveUp},
		{"100 without an end", &collector.Refusal{Status: 199}, two, 30, misconfigured},
	} {
		t.Run(c.name, func(t *testing.T) { assert.Equal(t, c.want, decide(c.err, c.value, c.isolated)) })
	}
}

func TestVerdict(t *testing.T) {
	answer := &collector.Refusal{Status: 503}
	assert.True(t, consume.IsPermanent(verdict(giveUp, answer)))
	for _, d := range []decision{retry, suspect, misconfigured} {
		assert.False(t, consume.IsPermanent(verdict(d, answer)))
		assert.ErrorIs(t, verdict(d, answer), answer)
	}
}
