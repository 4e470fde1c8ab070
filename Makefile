# `make` lists what can be made. Everything is built from source; only Go and a C compiler are needed.

TRANSPORT ?= kafka
SERVICES  := topic-config random stream sentence answer relay demo
MODULES   := tracing services
VERSION   := $(shell git describe --always --dirty 2>/dev/null || echo dev)
LDFLAGS   := -X fault-tolerant-tracing/services/internal/service.Version=$(VERSION)
LINT      := go run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0

export CGO_ENABLED := 1

.DEFAULT_GOAL := help

.PHONY: help
help: ## List these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: toolchain
toolchain:
	@.ci/toolchain

.PHONY: build
build: toolchain ## Build the services and, once, Jaeger into bin/
	@mkdir -p bin
	@echo 'building the services'
	@go build -ldflags '$(LDFLAGS)' -o bin/ $(SERVICES:%=./services/%)
	@deploy/jaeger/build bin

.PHONY: test
test: build ## Run all tests with the race detector, on real clients, a Kafka broker in the process and a real Jaeger
	go test -race -timeout 6m $(MODULES:%=./%/...)

.PHONY: test-kafka
test-kafka: build ## Run the tests that need a real Kafka: Apache Kafka, Kafka Connect and OpenSearch, with Java 17 (21) and Maven
	services/systemtest/jars/with go test -race -v -count=1 -parallel 3 -timeout 40m -run RealKafka ./services/systemtest

.PHONY: lint
lint: toolchain ## Run golangci-lint (.golangci.yml); the first time it is built
	@echo 'golangci-lint'
	@$(LINT) run $(MODULES:%=./%/...)

.PHONY: check
check: toolchain ## Check format, go vet, lint, go.mod files and that no path of a machine is left
	@.ci/check $(MODULES)
	@$(MAKE) --no-print-directory lint

.PHONY: demo
demo: build ## Run everything through an outage of Jaeger; TRANSPORT=direct sends spans without Kafka
	@bin/demo --transport '$(TRANSPORT)'

.PHONY: bench-transport
bench-transport: toolchain ## Measure what a delivered span costs by Kafka, HTTP and UDP
	go test -run '^$$' -bench Transport -benchtime 1x -timeout 20m ./tracing/bench

.PHONY: clean
clean: ## Remove what was built and what the demo left
	rm -rf bin .demo
