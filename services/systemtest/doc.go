// Package systemtest holds the tests of the whole system: every service as a
// process of its own, the real Jaeger, and a broker that can be taken away. The
// processes are stopped, killed and started again as people and machines do it.
package systemtest
