package meter

import (
	"bytes"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestElsewhereThanOnATerminalALineEveryFiveSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		m := New(&out, "records", 100)
		for range 12 {
			m.Add(3)
			m.Waiting(errors.New("jaeger answered 503"))
			time.Sleep(time.Second)
		}
		m.Close()
		assert.Equal(t, `3 of 100 records, trying again: jaeger answered 503
18 of 100 records
18 of 100 records, trying again: jaeger answered 503
33 of 100 records
33 of 100 records, trying again: jaeger answered 503
`, out.String())
	})
}
