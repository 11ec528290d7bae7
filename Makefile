# Commands of the project; `make help` lists them. Nothing but Go, gcc, npm and Debian packages is needed.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# DuckDB is a static C++ library, so every build is a cgo build.
export CGO_ENABLED := 1

GOLANGCI := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0

.PHONY: help
help: ## this list
	@sed -nE 's/^([a-z-]+):.*## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 12

.PHONY: deps
deps: ## check Go, gcc, g++, npm and git; as root on Debian, install what is missing
	@scripts/deps.sh

.PHONY: build
build: ## bin/pintail, the one binary
	go build -trimpath -o bin/pintail ./cmd/pintail

.PHONY: demo
demo: build ## a throwaway PostgreSQL with live data, and pintail serving it; Ctrl-C leaves nothing behind (ARGS=--once: one round)
	@go build -o bin/pintail-demo ./demo/run
	@exec bin/pintail-demo $(ARGS)

.PHONY: test
test: export PINTAIL_TEST_MAJORS ?= 14,18
test: ## vet, and all tests against real PostgreSQL 14 and 18 (PINTAIL_TEST_MAJORS=16 for others); within 20 minutes on 2 cores
	go vet ./...
	go test -timeout 40m ./...

# The race detector slows tests 5 to 10 times, so it gets one major and leaves out what only drives other processes.
.PHONY: test-all
test-all: export PINTAIL_TEST_MAJORS ?= 14,15,16,17,18
test-all: ## all majors, long suites (PINTAIL_TEST_LONG=1: 200 kills, 20 seconds of soak), then the race detector
	go vet ./...
	PINTAIL_TEST_LONG=1 go test -timeout 2h ./...
	PINTAIL_TEST_MAJORS=18 go test -race -timeout 1h $$(go list ./... | grep -vE '/(test|bench|demo)(/|$$)')

# The log is written as the run goes on; its exit code is the run's.
.PHONY: soak
soak: export PINTAIL_SOAK = $(or $(SOAK),8m)
soak: ## a replica under load, schema changes, kills and restarts for 8 minutes (SOAK=2h), compared all the while; log in bin/soak.log
	@mkdir -p bin
	go test -v -count 1 -timeout 0 ./test/soak 2>&1 | tee bin/soak.log

.PHONY: bench
bench: build ## benchmarks, results to docs/bench; NAME=full runs one of bench/*
	@for dir in $(if $(NAME),bench/$(NAME),$(patsubst %/main.go,%,$(wildcard bench/*/main.go))); do \
		echo "== $$dir"; go run ./$$dir $(ARGS); done

.PHONY: lint
lint: ## golangci-lint; .golangci.yml gives the reason of each switch
	go run $(GOLANGCI) run ./...

.PHONY: fmt
fmt: ## gofmt
	gofmt -w $$(git ls-files --cached --others --exclude-standard '*.go')

.PHONY: generate
generate: ## reference pages and schemas from the code
	go generate ./...

.PHONY: clean
clean: ## remove what was built; caches of Go and of PostgreSQL binaries stay
	rm -rf bin
