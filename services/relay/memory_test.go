package main

import (
	"bytes"
	"errors"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestTooLittleMemoryIsToldOf(t *testing.T) {
	t.Parallel()
	said := func(limit uint64, err error) string {
		var text bytes.Buffer
		limitMemory(func() (uint64, error) { return limit, err }, slog.New(slog.NewTextHandler(&text, nil)))
		return text.String()
	}
	assert.Regexp(t, "level=WARN .* 96 MiB: .* raise the limit to 256 MiB", said(96<<20, nil))
	assert.Empty(t, said(256<<20, nil))
	assert.Empty(t, said(0, errors.New("no cgroup")))
}
