// Package local runs the programs of the system on this machine: each as a child process that ends with the one that started it, kept
// running until it is stopped; and a small Kafka broker. It is for the demo and the proof.
package local
