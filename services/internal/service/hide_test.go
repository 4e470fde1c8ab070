package service

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestWhatStandsBeforeAnAtIsHidden(t *testing.T) {
	for value, want := range map[string]string{
		"http://user:word@host:1/x": "http://***@host:1/x",
		"http://user:w/rd@host":     "http://***@host",
		"http://user:w@rd@host":     "http://***@host",
		"user:word@host":            "***@host",
		"a:1,user:word@b:1":         "***@b:1",
		"us\"er\n:word@host":        "***@host",
		"http://host/x":             "http://host/x",
		"":                          "",
	} {
		values := given([]string{"X=" + value}, nil)
		assert.Equal(t, Problem{"X", want, "no"}.String(), hide(Problem{"X", value, "no"}.String(), values))
		assert.Equal(t, "open "+want+": no", hide("open "+value+": no", values))
	}
	assert.Equal(t, []string{"a@b", "-x@y", "c=d"}, given(nil, []string{"--to=a@b", "-x@y", "c=d"}))
}
