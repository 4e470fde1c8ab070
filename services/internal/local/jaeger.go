package local

import (
	"context"
	"fmt"

	"fault-tolerant-tracing/services/internal/jaeger"
)

// LaunchJaeger starts a Jaeger with the traces it has, and returns when it answers. logFile is where it logs.
func LaunchJaeger(ctx context.Context, j *jaeger.Process, logFile string) (Process, error) {
	if err := j.Start(ctx); err != nil {
		return nil, err
	}
	return jaegerLife{j, j.Done(), logFile}, nil
}

// jaegerLife is one life of a Jaeger.
type jaegerLife struct {
	*jaeger.Process
	over    <-chan struct{}
	logFile string
}

func (l jaegerLife) Done() <-chan struct{} { return l.over }
func (l jaegerLife) Ended() error {
	return fmt.Errorf("jaeger ended; its log is %s and ends: %s", l.logFile, LastLine(l.logFile))
}
