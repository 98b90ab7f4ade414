# Each command first builds a .venv, pinned by constraints.txt, unless it is there. `make` lists the commands.
PYTHON ?= python3
EXPERIMENT ?= carbonedge
PORT ?= 5000
ARGS ?=

BIN := .venv/bin
STAMP := .venv/.stamp
# `mlflow run` and the UI need this .venv's `python` and `carbonedge` first in PATH, and the same store:
# MLFLOW_TRACKING_URI, if it is set.
ENV = PATH="$(CURDIR)/$(BIN):$$PATH" MLFLOW_TRACKING_URI="$${MLFLOW_TRACKING_URI:-sqlite:///mlflow.db}"

.DEFAULT_GOAL := help
.PHONY: help setup run ui test test-full exhaustive test-alone test-docs bench paper soak agreement fidelity models-table lint format types check constraints clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile

setup: $(STAMP) ## build .venv (every other command does so itself)

run: $(STAMP) ## sweep and find the front; ARGS="-P n_trials=30 -P overrides='compression=int8 sweep.repeats=3'", or "-e run ..."
	$(ENV) $(BIN)/python -m mlflow run . --env-manager local --experiment-name "$(EXPERIMENT)" $(ARGS)

ui: $(STAMP) ## look at the results in the MLflow UI, on port 5000 (PORT=...)
	$(ENV) MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false \
	  sh -c 'exec $(BIN)/python -m mlflow ui --port $(PORT) --backend-store-uri "$$MLFLOW_TRACKING_URI"'

test: $(STAMP) ## the tests, except those below, two files at a time; ARGS="-k name"
	$(BIN)/python -m pytest -m "not full and not alone and not docs" --numprocesses 2 --dist loadfile $(ARGS)

test-full: $(STAMP) ## checks at full size, two files at a time
	$(BIN)/python -m pytest -m full --numprocesses 2 --dist loadfile $(ARGS)

exhaustive: $(STAMP) ## of the checks at full size, all that test-full draws a part of: cuts, timm models, numeric keys
	CARBONEDGE_EXHAUSTIVE=1 $(BIN)/python -m pytest -m full --numprocesses 2 tests/network/test_cut_points.py \
	  tests/execution/devices/test_wire.py tests/commands/test_numeric_keys.py $(ARGS)

test-alone: $(STAMP) ## tests that measure how long something takes: predicted, simulated and emulated latency agree
	$(BIN)/python -m pytest -m alone $(ARGS)

test-docs: $(STAMP) ## every command in README and docs, with less work
	$(BIN)/python -m pytest -m docs --numprocesses 2 $(ARGS)

bench: $(STAMP) ## the speed of start-up, exact front, cost model, PipeEdge's optimum, schedulers, simulation, logging
	$(BIN)/python -m tests.bench.start
	$(BIN)/python -m tests.bench.planning
	$(BIN)/python -m tests.bench.load
	$(BIN)/python -m tests.bench.tracking

paper: $(STAMP) ## the paper's tables and figures measured here, beside the published ones: paper.html, paper.md; ~10 minutes
	$(ENV) $(BIN)/python -m mlflow run . --env-manager local --experiment-name "$(EXPERIMENT)" -e paper $(ARGS)

soak: $(STAMP) ## kill a sweep 25 times and its MLflow server 10 times, fail each of its requests; compare; ~60 minutes
	$(BIN)/python -m tests.search.soak
	$(BIN)/python -m tests.search.request_faults

agreement: $(STAMP) ## simulated against emulated runs under load: two models, four plans, two loads
	$(BIN)/python -m tests.execution.agreement $(ARGS)

fidelity: $(STAMP) ## predicted against measured latency: ten networks, 24 random plans each of 1 to 3 stages; ~20 minutes
	$(BIN)/python -m tests.execution.fidelity $(ARGS)

models-table: $(STAMP) ## docs/models.md: cut every torchvision classifier; ~15 minutes, 8 GiB
	$(BIN)/python -m tests.network.models_table

lint: $(STAMP) ## ruff: rules and format; import-linter: direction of imports
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/lint-imports --no-logo

format: $(STAMP) ## ruff: fix both
	$(BIN)/python -m ruff check --fix .
	$(BIN)/python -m ruff format .

types: $(STAMP) ## mypy
	$(BIN)/python -m mypy

check: lint types test ## lint, types, test

constraints: $(STAMP) ## write the versions in .venv to constraints.txt
	$(BIN)/python .ci/constraints.py > constraints.txt.new
	mv constraints.txt.new constraints.txt
	touch $(STAMP)

clean: ## remove .venv and caches; keep results (mlflow.db, mlruns)
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis build *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo 'CarbonEdge needs Python 3.11 or newer as `$(PYTHON)`; name another: make PYTHON=python3.12 ...' >&2; exit 1; }
	@echo 'Setting up .venv: once, some minutes, 2 GB'
	@$(BIN)/python -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || $(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --disable-pip-version-check -e ".[dev]" -c constraints.txt
	@touch $@
