# Two commands for newcomers: `make demo` and `make test`. Both install the Debian packages they need first.
SHELL := /bin/bash
CARGO ?= cargo
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo -E env "PATH=$$PATH")
TARGET := $(shell $(CARGO) metadata --format-version 1 --no-deps 2>/dev/null | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')

.PHONY: help setup build demo test lint unit lab fuzz bench soak clean-lab

help: ## This list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

setup: ## Install the Debian packages that lab and tests need
	@scripts/setup.sh

build: ## The program, optimised
	$(CARGO) build --release --locked -p fother

demo: setup build ## The whole lifecycle, once around, on a real fleet
	$(SUDO) "$(TARGET)/release/fother" demo $(DEMO_ARGS)

test: setup lint unit lab ## Everything that must pass

lint: ## Formatting, lints, licences of dependencies
	@echo "== lint"
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	scripts/deny.sh

unit: ## Unit, property and loopback tests
	@echo "== unit"
	$(CARGO) build --workspace --locked --bins
	$(CARGO) test --workspace --locked --lib --bins
	scripts/tests.sh unit

lab: ## Tests as root on real hosts, clones and namespaces, one after the other
	@echo "== lab"
	scripts/tests.sh lab

fuzz: ## Every parser of foreign bytes under libFuzzer, FUZZ_SECONDS (30) each; the unit tests run the same for a second each
	scripts/fuzz.sh $(FUZZ_TARGETS)

bench: ## Beside its peers: one table with ratios (BENCH_ARGS=--allow-missing where data or peers are absent)
	@scripts/bench.sh $(BENCH_ARGS)

soak: ## A million simulated worlds; may be stopped and goes on; SOAK_ARGS=--seeds N for another number
	$(CARGO) run --release --locked -p fother --features sim -- sim soak --state "$(TARGET)/soak.json" --revision "$$(git rev-parse --short HEAD)" $(SOAK_ARGS)

clean-lab: ## Remove a lab that was left behind, and its cache
	$(SUDO) "$(TARGET)/release/fother" lab down --purge
