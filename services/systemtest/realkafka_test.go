package systemtest

import "testing"

// newKafkaSystem is newSystem on one node of a real Kafka.
func newKafkaSystem(t *testing.T) *system {
	t.Helper()
	k := startKafka(t, 1, nil)
	return newSystemOn(t, k, k, kafkaPatience)
}

func TestRealKafkaServicesStartInAnyOrder(t *testing.T) {
	t.Parallel()
	testAnyOrder(t, newKafkaSystem(t))
}

func TestRealKafkaServicesSurviveARestart(t *testing.T) {
	t.Parallel()
	testRestart(t, newKafkaSystem(t))
}
