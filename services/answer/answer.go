package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/big"
	"regexp"

	"fault-tolerant-tracing/services/internal/dispatch"
	"fault-tolerant-tracing/services/internal/transform"
)

// answer is the value of a record of answer-topic. Its numbers are exact,
// however large.
type answer struct {
	Number           *big.Int `json:"number"`
	Random           *big.Int `json:"random"`
	Sentence         string   `json:"sentence"`
	CompleteSentence string   `json:"completeSentence"`
	Answer           *big.Int `json:"answer"`
}

// sentence is what the service of that name writes: an integer in its canonical
// form and a number from 0 to 9.
var sentence = regexp.MustCompile(`^(0|-?[1-9][0-9]*) \+ ([0-9])$`)

// solve works out what a value of sentence-topic says.
func solve(value []byte) (answer, error) {
	parts := sentence.FindSubmatch(value)
	if parts == nil {
		return answer{}, fmt.Errorf("not a sentence such as \"6 + 1\": %.100q", value)
	}
	a := answer{Sentence: string(value), Number: new(big.Int), Random: new(big.Int), Answer: new(big.Int)}
	a.Number.SetString(string(parts[1]), 10)
	a.Random.SetString(string(parts[2]), 10)
	a.Answer.Add(a.Number, a.Random)
	a.CompleteSentence = fmt.Sprintf("%s = %d", a.Sentence, a.Answer)
	return a, nil
}

// answerTo is a [transform.Func].
func answerTo(ctx context.Context, r *dispatch.Record) (key, value []byte, err error) {
	a, err := solve(r.Value)
	if err != nil {
		return nil, nil, dispatch.Permanent(err)
	}
	transform.Tag(ctx, "number.value", a.Number.String())
	transform.Tag(ctx, "random.number", a.Random.Int64())
	value, err = json.Marshal(a)
	if err != nil {
		return nil, nil, dispatch.Permanent(err)
	}
	return []byte(a.Number.String()), value, nil
}
