# `make` lists what can be made. Everything is built from source; only Go and a C compiler are needed.

TRANSPORT ?= kafka
COLLECTOR ?= otlp
SERVICES  := topic-config random stream sentence answer relay otel-client console demo prove
MODULES   := tracing services
VERSION   := $(shell git describe --always --dirty 2>/dev/null || echo dev)
LDFLAGS   := -X fault-tolerant-tracing/services/internal/service.Version=$(VERSION)
COMPOSE   ?= $(shell docker compose version >/dev/null 2>&1 && echo docker compose || echo docker-compose)
LINT      := go run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0

export CGO_ENABLED := 1
export COMPOSE VERSION

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
test: build ## Run the tests that need nothing else with the race detector, on real clients, an embedded Kafka broker and a real Jaeger
	go test -race -parallel 8 -timeout 15m $(MODULES:%=./%/...)

SEEDS ?= 100000
FROM  ?= 1

.PHONY: simulate
simulate: toolchain ## Simulate what can happen to a consumer, its broker and the endpoint: SEEDS schedules FROM one on; TRACE=1 prints each
	SEEDS=$(SEEDS) FROM=$(FROM) TRACE=$(TRACE) go test -count=1 -timeout 0 -v -run TestSimulation ./services/internal/dispatch

FUZZTIME ?= 30s

.PHONY: fuzz
fuzz: toolchain ## Feed every parser of what strangers write with what it may not expect, each for FUZZTIME (30s)
	@.ci/fuzz '$(FUZZTIME)'

.PHONY: test-kafka
test-kafka: build ## Run the tests that need a real Kafka: Apache Kafka, Kafka Connect and OpenSearch, with Java 17 (21), Maven and Python 3.10
	services/systemtest/jars/with go test -race -v -count=1 -parallel 3 -timeout 40m -run RealKafka ./services/systemtest

.PHONY: test-browser
test-browser: build ## Test the control room in Chromium, which must be installed; SCREENSHOTS=FOLDER leaves pictures there
	BROWSER_TEST=1 SCREENSHOTS='$(abspath $(SCREENSHOTS))' go test -count 1 -timeout 10m -run TestControlRoom ./services/demo

.PHONY: screenshots
screenshots: ## Take the pictures of README anew (docs/pictures), with Chromium
	@mkdir -p docs/pictures
	@$(MAKE) --no-print-directory test-browser SCREENSHOTS=docs/pictures

.PHONY: mutants
mutants: toolchain ## Plant more than a hundred bugs, one after the other, and say which test finds each; RUN='regexp' chooses
	@go run ./services/mutants -run '$(RUN)'

.PHONY: lint
lint: toolchain ## Run golangci-lint (.golangci.yml); the first time it is built
	@echo 'golangci-lint'
	@$(LINT) run $(MODULES:%=./%/...)

.PHONY: check
check: toolchain ## Check format, go vet, lint, go.mod files and that no path of a machine is left
	@.ci/check $(MODULES)
	@$(MAKE) --no-print-directory lint check-kubernetes check-prometheus

SBOM := GOWORK=off go run github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.9.0 mod -licenses -json

LISTED := $(MODULES) deploy/jaeger

.PHONY: sbom
sbom: toolchain ## List the dependencies of both modules and of Jaeger with their licences, as CycloneDX, in bin/sbom-NAME.json, and count the licences
	@mkdir -p bin
	@$(foreach m,$(LISTED),$(SBOM) -output bin/sbom-$(notdir $(m)).json $(m) &&) grep -ho '"id": *"[^"]*"' $(foreach m,$(LISTED),bin/sbom-$(notdir $(m)).json) | sort | uniq -c | sort -rn

.PHONY: check-kubernetes
check-kubernetes: toolchain ## Check deploy/kubernetes: fields, references, rights, settings; and that this check finds what is broken
	@echo 'deploy/kubernetes'
	@go build -ldflags '$(LDFLAGS)' -o bin/ $(SERVICES:%=./services/%)
	@cd deploy/kubernetes/check && export GOWORK=off && go vet . && go mod tidy -diff && $(LINT) run && go test -count 1 . && go run . .. ../../../bin

.PHONY: check-prometheus
check-prometheus: toolchain ## Check deploy/prometheus and deploy/grafana: configuration, alerts with their tests, and dashboard; promtool is built once
	@echo 'deploy/prometheus, deploy/grafana'
	@deploy/prometheus/check/run bin

.PHONY: demo
demo: build ## Run everything through an outage of Jaeger; TRANSPORT=direct sends spans without Kafka, COLLECTOR=thrift as the article does; STAY=1 stays up without a terminal
	@bin/demo --transport '$(TRANSPORT)' --collector '$(COLLECTOR)' $(if $(STAY),--stay)

DURATION ?= 10m
KAFKA    ?= embedded

.PHONY: prove
prove: build ## Run the whole system under every fault that can be made, for DURATION (10m), and count what was lost; SEED=N repeats an order, KAFKA=real takes Apache Kafka
	@$(if $(filter real,$(KAFKA)),services/systemtest/jars/with) bin/prove --kafka '$(KAFKA)' --duration '$(DURATION)' $(if $(SEED),--seed '$(SEED)')

.PHONY: prove-contrast
prove-contrast: DURATION = 3m
prove-contrast: build ## Let the same faults happen to the relay, to a Collector in its place and to the SDK's own exporter, for DURATION (3m) each; SEED=N
	@bin/prove contrast --duration '$(DURATION)' $(if $(SEED),--seed '$(SEED)')

.PHONY: bench-transport
bench-transport: toolchain ## Measure what a delivered span costs by Kafka, HTTP and UDP
	go test -run '^$$' -bench Transport -benchtime 1x -timeout 20m ./tracing/bench

.PHONY: bench
bench: build ## Measure the relay beside direct posts and Jaeger's ingester, with Java 17 and Maven; BENCH='--help' tells more
	@go build -ldflags '$(LDFLAGS)' -o bin/ ./services/bench
	@services/systemtest/jars/with bin/bench $(BENCH)

.PHONY: up
up: data/live/numbers.txt ## Docker: build the images and start the whole system
	@deploy/compose up

.PHONY: down
down: ## Docker: stop the system and delete its data, traces included
	$(COMPOSE) --profile prometheus --profile smoke down --volumes --remove-orphans
	rm -rf data/live

.PHONY: logs
logs: ## Docker: follow the logs of our services
	@deploy/compose urls
	$(COMPOSE) logs -f --tail 20 random stream sentence answer relay

.PHONY: ps
ps: ## Docker: show the containers and their health
	$(COMPOSE) ps
	@deploy/compose urls

.PHONY: outage
outage: ## Docker: stop Jaeger
	$(COMPOSE) stop jaeger
	@deploy/compose outage

.PHONY: recover
recover: ## Docker: start Jaeger again
	$(COMPOSE) start jaeger
	@deploy/compose recover

N ?= 10
.PHONY: numbers
numbers: data/live/numbers.txt ## Docker: append N numbers (10) to what the file source reads
	@deploy/compose numbers '$(N)'

.PHONY: smoke
smoke: data/live/numbers.txt ## Docker: start the system and check it from end to end; tells time and memory
	@deploy/compose smoke

.PHONY: test-compose
test-compose: toolchain ## Test the system in Docker, in a project of its own; COMPOSE=docker-compose for the older one
	COMPOSE_TEST=1 go test -count 1 -v -timeout 40m ./services/composetest

data/live/numbers.txt:
	@mkdir -p data/live
	cp data/numbers.txt $@

.PHONY: clean
clean: ## Remove what was built and what the demo, the proof and the benchmark left
	rm -rf bin .demo .prove .bench
