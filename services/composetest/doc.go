// Package composetest holds the test of docker-compose.yml: the system in Docker, started and used as README.md tells, through an
// outage of Jaeger. `make test-compose` runs it; it is skipped elsewhere. It works on a copy of the repository, in a Compose
// project of its own and on free ports, so that a system that is up stays as it is.
package composetest
