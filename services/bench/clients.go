package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"time"
)

// clientGroup are running programs client.
type clientGroup struct {
	children []*child
	answers  []*bytes.Buffer // their standard outputs
}

// startClients starts so many clients that write to a topic. Each begins at some
// time within a second, the same in every run, so that their flushes are spread.
func (b *bench) startClients(n int, topic string) (*clientGroup, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	g := &clientGroup{}
	phases := rand.New(rand.NewPCG(1, 2))
	for i := range n {
		name, answer := fmt.Sprintf("client-%02d", i), &bytes.Buffer{}
		c, err := startChild(name, b.work, nil, answer, self, "client", "--service", name,
			"--broker", b.kafka.addr, "--topic", topic, "--phase", time.Duration(phases.Int64N(int64(time.Second))).String())
		if err != nil {
			g.stop()
			return nil, err
		}
		g.children, g.answers = append(g.children, c), append(g.answers, answer)
	}
	return g, nil
}

// stop ends all of them and returns when they have ended.
func (g *clientGroup) stop() {
	var stopping sync.WaitGroup
	for _, c := range g.children {
		stopping.Go(c.stop)
	}
	stopping.Wait()
}

// finish ends all of them and returns how many spans they wrote.
func (g *clientGroup) finish() (spans int, err error) {
	for _, c := range g.children {
		err = errors.Join(err, c.check())
	}
	g.stop()
	for i, c := range g.children {
		if c.err != nil {
			err = errors.Join(err, c.failed("failed"))
			continue
		}
		var answer finished
		if e := json.Unmarshal(g.answers[i].Bytes(), &answer); e != nil {
			err = errors.Join(err, fmt.Errorf("read what %s wrote: %w", c.name, e))
		}
		spans += answer.Spans
	}
	return spans, err
}
