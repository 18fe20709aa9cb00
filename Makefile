# Headrace. `make help` lists the targets.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BENCH_VENV := .headrace/bench/venv
PROCESSES ?= 4
PIP := $(BIN)/python -m pip install --disable-pip-version-check --require-hashes $(if $(CI),--quiet)

.DEFAULT_GOAL := help
.PHONY: help install run test quick-faults test-unit faults soak document-faults check bench lock docs clean clean-data demo

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

install: $(VENV)/run.done ## install the packages of a worker into .venv, and the files of the embedded servers

run: $(VENV)/run.done ## start a worker with embedded servers; Ctrl-C stops it
	@exec $(BIN)/faust -A app worker

test: $(VENV)/dev.done ## run all tests except the faults; they start and end their own servers; PROCESSES=…
	$(BIN)/python -m pytest -n $(PROCESSES) --dist loadfile --no-loadscope-reorder -m "not faults" $(ARGS)

# Faults are injected one after the other; the second process prepares.
quick-faults: PROCESSES := 2
quick-faults: $(VENV)/dev.done ## inject the faults that take less than a minute
	$(BIN)/python -m pytest -n $(PROCESSES) --dist load --maxschedchunk 1 -m "faults and not slow_faults" $(ARGS)

faults: $(VENV)/dev.done ## inject every fault under load, and prove that no event is lost or applied twice
	$(if $(FAULT_SEED),FAULT_SEED=$(FAULT_SEED)) $(if $(FAULT_RESULTS),FAULT_RESULTS=$(FAULT_RESULTS)) \
	  $(BIN)/python -m pytest tests/faults -m faults $(ARGS)

soak: $(VENV)/dev.done ## inject a random fault every 5 s, then recover and check; SEED=… MINUTES=…
	$(BIN)/python -m tests.faults.soak $(if $(SEED),--seed $(SEED)) $(if $(MINUTES),--minutes $(MINUTES))

test-unit: $(VENV)/dev.done ## run the tests that need no server
	$(BIN)/python -m pytest tests/unit $(ARGS)

check: $(VENV)/dev.done ## format, lint, types, import directions, Dockerfile and compose file, each Python
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python scripts/check_container_files.py
	scripts/check_pythons.sh $(BIN)/python

demo: $(VENV)/run.done ## simulate 50 devices over MQTT and HTTP for a minute, with `make run` running; ARGS="--seconds 10"
	$(BIN)/python examples/demo.py $(ARGS)

lock: $(VENV)/dev.done ## resolve requirements/*.txt from pyproject.toml
	$(BIN)/python scripts/lock_requirements.py $(ARGS)

bench: $(VENV)/dev.done $(BENCH_VENV)/bench.done ## compare with baselines and peers in one run (an hour); options: ARGS="--help"
	$(BIN)/python -m benchmarks $(ARGS)

docs: $(VENV)/dev.done ## write docs/settings.md, docs/logs.md, docs/access.md and docs/roles.md from the code
	$(BIN)/python scripts/document_settings.py
	$(BIN)/python scripts/document_logs.py
	$(BIN)/python scripts/document_access.py
	$(BIN)/python scripts/document_roles.py

document-faults: $(VENV)/dev.done ## write the results of make faults into docs/reliability.md; FILES="…": the files of FAULT_RESULTS
	$(BIN)/python scripts/document_faults.py $(FILES)

clean: ## remove .venv and what benchmarks installed; the embedded servers' data stays
	rm -rf $(VENV) .headrace/bench

clean-data: ## remove the embedded servers' data in .headrace, all events included; asks first
	@if [ ! -e .headrace ]; then echo "There is no .headrace."; exit 0; fi; \
	pid=$$(head -n 1 .headrace/postgres/postmaster.pid 2>/dev/null); \
	if [ -n "$$pid" ] && kill -0 "$$pid" 2>/dev/null; then \
	  echo "PostgreSQL (pid $$pid) uses .headrace: end the workers first, with Ctrl-C." >&2; exit 1; \
	fi; \
	read -r -p "Remove $(CURDIR)/.headrace with all events in it? Type yes: " answer || true; \
	if [ "$$answer" != yes ]; then echo "Nothing was removed." >&2; exit 1; fi; \
	rm -rf .headrace

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 15))' \
	  || { echo "Headrace needs Python 3.11, 3.12, 3.13 or 3.14; set PYTHON=/path/to/one." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/run.done: requirements/run.txt | $(VENV)/bin/python
	@echo "Installing the packages of a worker …" >&2
	@$(PIP) -r requirements/run.txt
	@$(BIN)/python -m app.embedded
	@touch $@

$(VENV)/dev.done: requirements/dev.txt $(VENV)/run.done
	@echo "Installing the test tools …" >&2
	@$(PIP) -r requirements/dev.txt
	@touch $@

$(BENCH_VENV)/bench.done: requirements/bench.txt $(VENV)/dev.done
	@echo "Installing the peers of the benchmarks …" >&2
	@test -d $(BENCH_VENV) || $(BIN)/python -m venv $(BENCH_VENV)
	@$(BENCH_VENV)/bin/python -m pip install --disable-pip-version-check --require-hashes --quiet -r requirements/bench.txt
	@touch $@
