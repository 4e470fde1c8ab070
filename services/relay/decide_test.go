package main

import (
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

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
		{"400 and no batch", &refusal{status: 400}, garbage, 0, giveUp},
		{"400 and a batch with something behind it", &refusal{status: 400}, append(two[:len(two):len(two)], 0), 0, giveUp},
		{"400 for a batch, nothing else went through", &refusal{status: 400}, two, 0, suspect},
		{"400 for a batch, others went through", &refusal{status: 400}, two, 1, giveUp},
		{"413 for several spans", &refusal{status: 413}, two, 0, split},
		{"413 for one span", &refusal{status: 413}, one, 0, giveUp},
		{"413 and no batch", &refusal{status: 413}, garbage, 0, giveUp},
		{"301", &refusal{status: 301}, two, 30, misconfigured},
		{"304", &refusal{status: 304}, two, 30, misconfigured},
		{"401", &refusal{status: 401}, two, 30, misconfigured},
		{"404", &refusal{status: 404}, garbage, 30, misconfigured},
		{"405", &refusal{status: 405}, two, 30, misconfigured},
		{"415", &refusal{status: 415}, two, 30, misconfigured},
		{"408", &refusal{status: 408}, two, 30, retry},
		{"429", &refusal{status: 429}, two, 30, retry},
		{"502", &refusal{status: 502}, two, 30, retry},
		{"503", &refusal{status: 503}, garbage, 30, retry},
		{"500, the 19th time that others went through", &refusal{status: 500}, two, maxTries - 2, suspect},
		{"500, the 20th time that others went through", &refusal{status: 500}, two, maxTries - 1, giveUp},
		{"100 without an end", &refusal{status: 199}, two, 30, misconfigured},
	} {
		t.Run(c.name, func(t *testing.T) { assert.Equal(t, c.want, decide(c.err, c.value, c.isolated)) })
	}
}

func TestVerdict(t *testing.T) {
	answer := &refusal{status: 503}
	assert.True(t, consume.IsPermanent(verdict(giveUp, answer)))
	for _, d := range []decision{retry, suspect, misconfigured} {
		assert.False(t, consume.IsPermanent(verdict(d, answer)))
		assert.ErrorIs(t, verdict(d, answer), answer)
	}
}

func TestRetryAfterIsReadAsSecondsOrDate(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"":                     0,
		"7":                    7 * time.Second,
		"-7":                   0,
		"soon":                 0,
		"99999999999999999999": 0,
		now.Add(9 * time.Second).Format(http.TimeFormat):  9 * time.Second,
		now.Add(-9 * time.Second).Format(http.TimeFormat): 0,
	} {
		assert.Equal(t, want, retryAfter(value, now), "Retry-After: %s", value)
	}
}
