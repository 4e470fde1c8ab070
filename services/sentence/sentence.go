package main

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"strings"

	"fault-tolerant-tracing/services/internal/dispatch"
	"fault-tolerant-tracing/services/internal/transform"
)

// shown is how many bytes of what is no number its spans show.
const shown = 100

// worker makes a sentence of each record.
type worker struct{ random *randomClient }

// sentence is a [transform.Func]. The random number of a record is drawn once and
// kept from one try to the next.
func (w worker) sentence(ctx context.Context, r *dispatch.Record) (key, value []byte, err error) {
	number, err := parse(r.Value)
	if err != nil {
		if len(r.Value) > 0 {
			transform.Tag(ctx, "number.value", strings.ToValidUTF8(string(r.Value[:min(len(r.Value), shown)]), "\uFFFD"))
		}
		return nil, nil, dispatch.Permanent(err)
	}
	transform.Tag(ctx, "number.value", number)
	random, drawn := r.State.(int)
	if !drawn {
		if random, err = w.random.draw(ctx); err != nil {
			return nil, nil, err
		}
		r.State = random
		transform.Tag(ctx, "random.number", random)
	}
	return []byte(number), fmt.Appendf(nil, "%s + %d", number, random), nil
}

// parse returns the integer in a value of even-topic, in its canonical form.
func parse(value []byte) (string, error) {
	if value == nil {
		return "", errors.New("no value")
	}
	number, ok := new(big.Int).SetString(string(value), 10)
	if !ok {
		return "", fmt.Errorf("not an integer: %.100q", value)
	}
	return number.String(), nil
}
