// Package systemtest holds the tests of the whole system: every service as a
// process of its own, the real Jaeger, and a broker that can be taken away. The
// processes are stopped, killed and started again as people and machines do it.
//
// The broker is the one of package tracingtest, inside the test's process. The
// tests named RealKafka run on Apache Kafka instead, with Kafka Connect and
// OpenSearch; `make test-kafka` fetches those and says where they are.
package systemtest
