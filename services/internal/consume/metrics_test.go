package consume

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"

	"fault-tolerant-tracing/services/internal/dispatch"
)

func TestMetricsTellTheStatus(t *testing.T) {
	status := Status{
		Status: dispatch.Status{
			State:            dispatch.Holding,
			InFlight:         2,
			Suspects:         5,
			DeadLetters:      6,
			DeadLettersError: &dispatch.Failure{},
			FetchError:       &dispatch.Failure{},
			Counts:           dispatch.Counts{Done: 7, Skipped: 1, SetAside: 3, Retries: 9},
			Partitions:       []dispatch.PartitionStatus{{Partition: 0, Lag: 12}, {Partition: 1, Lag: -1}},
		},
		CommitErrors: 4,
		ReadAgain:    8,
		Errors:       []dispatch.Failure{{}},
	}
	m := Metrics(func() Status { return status })
	assert.NoError(t, testutil.CollectAndCompare(m, strings.NewReader(`
# HELP consumer_commit_errors_total Commits of offsets that Kafka refused; they go with the next one.
# TYPE consumer_commit_errors_total counter
consumer_commit_errors_total 4
# HELP consumer_dead_letters_failing 1 while nothing can be set aside, else 0.
# TYPE consumer_dead_letters_failing gauge
consumer_dead_letters_failing 1
# HELP consumer_dead_letters_waiting Records, or parts of some, that are to be set aside.
# TYPE consumer_dead_letters_waiting gauge
consumer_dead_letters_waiting 6
# HELP consumer_holding 1 while what the consumer needs is away and it waits, else 0.
# TYPE consumer_holding gauge
consumer_holding 1
# HELP consumer_in_flight Records, and parts of some, that are being tried.
# TYPE consumer_in_flight gauge
consumer_in_flight 2
# HELP consumer_lag Offsets of an assigned partition from its first unfinished record on.
# TYPE consumer_lag gauge
consumer_lag{partition="0"} 12
# HELP consumer_lasting_errors Errors of the Kafka client that last, such as a partition that stalls, or records that cannot be read again.
# TYPE consumer_lasting_errors gauge
consumer_lasting_errors 2
# HELP consumer_oldest_unfinished_age_seconds Age of the oldest record that was read and is not finished; 0 if there is none, or if its timestamp cannot be right.
# TYPE consumer_oldest_unfinished_age_seconds gauge
consumer_oldest_unfinished_age_seconds 0
# HELP consumer_read_again_total Times that reading went back to what is committed, because what was finished since may be lost.
# TYPE consumer_read_again_total counter
consumer_read_again_total 8
# HELP consumer_records_total What is finished, by result: records that are done, records or parts of some that were skipped or set_aside.
# TYPE consumer_records_total counter
consumer_records_total{result="done"} 7
consumer_records_total{result="set_aside"} 3
consumer_records_total{result="skipped"} 1
# HELP consumer_retries_total Tries that were refused.
# TYPE consumer_retries_total counter
consumer_retries_total 9
# HELP consumer_suspects Records, or parts of some, that were refused and are to be tried again.
# TYPE consumer_suspects gauge
consumer_suspects 5
`)))
	status.Oldest = new(time.Now().Add(-time.Hour))
	age := "consumer_oldest_unfinished_age_seconds"
	assert.Equal(t, 1, testutil.CollectAndCount(m, age))
	problems := testutil.CollectAndCompare(m, strings.NewReader("# HELP x\n"), age)
	assert.ErrorContains(t, problems, age+" 3600.")
	status.State = dispatch.Delivering
	assert.NoError(t, testutil.CollectAndCompare(m, strings.NewReader(`
# HELP consumer_holding 1 while what the consumer needs is away and it waits, else 0.
# TYPE consumer_holding gauge
consumer_holding 0
`), "consumer_holding"))
}
