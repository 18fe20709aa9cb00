# Headrace. `make help` lists what there is.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BENCH_VENV := .headrace/bench/venv
PROCESSES ?= 2
PIP := $(BIN)/python -m pip install --disable-pip-version-check --require-hashes $(if $(CI),--quiet)

.DEFAULT_GOAL := help
.PHONY: help install run test quick-faults test-unit faults soak document-faults check bench lock docs clean demo

help: ## what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

install: $(VENV)/run.done ## install what a worker needs into .venv, and the embedded servers' files

run: $(VENV)/run.done ## start a worker with everything embedded; Ctrl-C ends it
	@exec $(BIN)/faust -A app worker

test: $(VENV)/dev.done ## all tests but the faults, on servers that they start and end themselves; PROCESSES=…
	$(BIN)/python -m pytest -n $(PROCESSES) --dist loadfile --no-loadscope-reorder -m "not faults" $(ARGS)

quick-faults: $(VENV)/dev.done ## the faults that take less than a minute
	$(BIN)/python -m pytest -n $(PROCESSES) --dist load --maxschedchunk 1 -m "faults and not slow_faults" $(ARGS)

faults: $(VENV)/dev.done ## break everything that can break, under load, and prove that nothing is lost or doubled
	$(if $(FAULT_SEED),FAULT_SEED=$(FAULT_SEED)) $(if $(FAULT_RESULTS),FAULT_RESULTS=$(FAULT_RESULTS)) \
	  $(BIN)/python -m pytest tests/faults -m faults $(ARGS)

soak: $(VENV)/dev.done ## one random fault every 5 s, then heal and check; SEED=… MINUTES=…
	$(BIN)/python -m tests.faults.soak $(if $(SEED),--seed $(SEED)) $(if $(MINUTES),--minutes $(MINUTES))

test-unit: $(VENV)/dev.done ## the tests that need no server
	$(BIN)/python -m pytest tests/unit $(ARGS)

check: $(VENV)/dev.done ## format, lint, types, import directions, Dockerfile and compose file
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python scripts/check_container_files.py

demo: $(VENV)/run.done ## 50 devices over MQTT and HTTP for a minute, beside a running `make run`; ARGS="--seconds 10"
	$(BIN)/python examples/demo.py $(ARGS)

lock: $(VENV)/dev.done ## resolve requirements/*.txt anew from pyproject.toml
	$(BIN)/python scripts/lock_requirements.py $(ARGS)

bench: $(VENV)/dev.done $(BENCH_VENV)/bench.done ## compare with baselines and peers in one run (50 minutes); ARGS="--help" tells more
	$(BIN)/python -m benchmarks $(ARGS)

docs: $(VENV)/dev.done ## write docs/settings.md from the code
	$(BIN)/python scripts/document_settings.py

document-faults: $(VENV)/dev.done ## write the figures of make faults into docs/reliability.md; FILES="…" as FAULT_RESULTS named
	$(BIN)/python scripts/document_faults.py $(FILES)

clean: ## remove .venv and the embedded servers' data
	rm -rf $(VENV) .headrace

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' \
	  || { echo "Headrace needs Python 3.11, 3.12 or 3.13; set PYTHON=/path/to/one." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/run.done: requirements/run.txt | $(VENV)/bin/python
	@echo "Installing what a worker needs …" >&2
	@$(PIP) -r requirements/run.txt
	@$(BIN)/python -m app.embedded
	@touch $@

$(VENV)/dev.done: requirements/dev.txt $(VENV)/run.done
	@echo "Installing the tools of the tests …" >&2
	@$(PIP) -r requirements/dev.txt
	@touch $@

$(BENCH_VENV)/bench.done: requirements/bench.txt $(VENV)/dev.done
	@echo "Installing what the benchmarks compare with …" >&2
	@test -d $(BENCH_VENV) || $(BIN)/python -m venv $(BENCH_VENV)
	@$(BENCH_VENV)/bin/python -m pip install --disable-pip-version-check --require-hashes --quiet -r requirements/bench.txt
	@touch $@
