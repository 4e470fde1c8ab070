package tracingtest_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"fault-tolerant-tracing/tracing/tracingtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const group = "group"

// join has a member join the group, and returns its name.
func join(ctx context.Context, c *kgo.Client, member string, session time.Duration) (string, int32, error) {
	req := kmsg.NewPtrJoinGroupRequest()
	req.Group, req.MemberID, req.ProtocolType = group, member, "consumer"
	req.SessionTimeoutMillis, req.RebalanceTimeoutMillis = int32(session.Milliseconds()), int32(time.Hour.Milliseconds())
	req.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range"}}
	resp, err := req.RequestWith(ctx, c)
	if err == nil {
		err = kerr.ErrorForCode(resp.ErrorCode)
	}
	if errors.Is(err, kerr.MemberIDRequired) {
		return join(ctx, c, resp.MemberID, session)
	}
	if err != nil {
		return "", 0, err
	}
	return resp.MemberID, resp.Generation, nil
}

func assigned(ctx context.Context, c *kgo.Client, member string, generation int32) error {
	req := kmsg.NewPtrSyncGroupRequest()
	req.Group, req.MemberID, req.Generation = group, member, generation
	resp, err := req.RequestWith(ctx, c)
	if err != nil {
		return err
	}
	return kerr.ErrorForCode(resp.ErrorCode)
}

func members(t *testing.T, c *kgo.Client) int {
	req := kmsg.NewPtrDescribeGroupsRequest()
	req.Groups = []string{group}
	resp, err := req.RequestWith(t.Context(), c)
	if !assert.NoError(t, err) || !assert.Len(t, resp.Groups, 1) {
		return 0
	}
	return len(resp.Groups[0].Members)
}

// Of all that is killed, a member that joins its group gets its answer when it is gone.
func TestMemberThatIsKilledWhileItJoinsIsOutAfterItsSession(t *testing.T) {
	b := tracingtest.StartBroker(t, kfake.BrokerConfigs(map[string]string{"group.min.session.timeout.ms": "100"}))
	one, other := newClient(t, b), newClient(t, b)
	member, generation, err := join(t.Context(), one, "", time.Minute)
	require.NoError(t, err)
	require.NoError(t, assigned(t.Context(), one, member, generation))

	killed := make(chan error)
	go func() {
		_, _, err := join(t.Context(), other, "", 100*time.Millisecond)
		killed <- err
	}()
	require.Eventually(t, func() bool { return members(t, one) == 2 }, time.Minute, time.Millisecond)
	other.Close()
	require.Error(t, <-killed)

	_, generation, err = join(t.Context(), one, member, time.Minute)
	require.NoError(t, err)
	require.NoError(t, assigned(t.Context(), one, member, generation))
	assert.Eventually(t, func() bool { return members(t, one) == 1 }, time.Minute, 10*time.Millisecond)
}
