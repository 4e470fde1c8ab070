// Package numbering is what a record of otlp_proto says of its sender, in headers:
// its number, by which a reader sees that others are missing, and how many spans the
// sender has lost. The sender is one process; its uuid is the record's key. (A Thrift
// batch has fields of its own for that: see package batch.)
//
//	key             94ad6f5e07c1d3b2
//	tracing.seq-no  17
//	tracing.losses  full_queue=0 too_large=1 failed_to_emit=0
//
// Records without these headers, as other clients write them, are as welcome.
package numbering

import (
	"fmt"
	"strconv"
	"strings"
)

// The headers.
const (
	SeqNoHeader  = "tracing.seq-no" // from 1 on, in decimal; used up also by a record that could not be sent
	LossesHeader = "tracing.losses" // Losses as text
)

// Losses says how many spans a process has lost so far, by reason. The counters
// only grow; a reader takes the difference of two records of one process.
type Losses struct {
	FullQueue    int64 // the queue before the exporter was full
	TooLarge     int64 // one span alone was too large to send
	FailedToEmit int64 // a record could not be kept until it was sent
}

// The names of the counters in LossesHeader.
const (
	fullQueue    = "full_queue"
	tooLarge     = "too_large"
	failedToEmit = "failed_to_emit"
)

// FormatSeqNo returns the value of SeqNoHeader.
func FormatSeqNo(n int64) []byte { return strconv.AppendInt(nil, n, 10) }

// ParseSeqNo reads the value of SeqNoHeader. It returns false if that is no number
// from 1 on, or absent.
func ParseSeqNo(value []byte) (int64, bool) {
	n, ok := parse(string(value))
	return n, ok && n > 0
}

// String returns the counters as they stand in LossesHeader.
func (l Losses) String() string {
	return fmt.Sprintf("%s=%d %s=%d %s=%d", fullQueue, l.FullQueue, tooLarge, l.TooLarge, failedToEmit, l.FailedToEmit)
}

// ParseLosses reads the value of LossesHeader: counters in any order, those that are
// not there are 0. It returns false if it holds anything else, or nothing.
func ParseLosses(value []byte) (Losses, bool) {
	var l Losses
	counters := map[string]*int64{fullQueue: &l.FullQueue, tooLarge: &l.TooLarge, failedToEmit: &l.FailedToEmit}
	words := strings.Fields(string(value))
	for _, word := range words {
		name, text, _ := strings.Cut(word, "=")
		n, ok := parse(text)
		if counters[name] == nil || !ok {
			return Losses{}, false
		}
		*counters[name] = n
		delete(counters, name) // each at most once
	}
	return l, len(words) > 0
}

// parse reads a decimal number without a sign.
func parse(text string) (int64, bool) {
	n, err := strconv.ParseUint(text, 10, 63)
	return int64(n), err == nil
}
