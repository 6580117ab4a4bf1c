# Every target that needs the environment calls `setup`; it is quick when nothing changed.
.DEFAULT_GOAL := help
SHELL := /bin/bash
BIN := .venv/bin
# Each of the many processes that tests start would compile every module again.
unexport PYTHONDONTWRITEBYTECODE
PACKAGES := libs/policies libs/runtime libs/visionjobs libs/devkit migrations services/scheduler services/executor
OWN := visionjobs visionjobs-policies visionjobs-runtime visionjobs-devkit visionjobs-scheduler visionjobs-executor visionjobs-migrations visionjobs-workspace
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header $(foreach p,$(OWN),--no-emit-package $(p))

.PHONY: help setup demo test test-all simulate check lint format proto requirements bench bench-faults bench-memory clean

help: ## Show the targets.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-14s %s\n", $$1, $$2}'

setup: .venv/.ready ## Install everything into .venv.

.venv/.ready: requirements/uv.txt requirements/dev.txt $(addsuffix /pyproject.toml,$(PACKAGES))
	@command -v python3 >/dev/null || { echo "visionjobs needs python3 (3.11 or newer) with venv"; exit 1; }
	@python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "visionjobs needs Python 3.11 or newer, this is $$(python3 --version)"; exit 1; }
	@test -x $(BIN)/python || python3 -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements/uv.txt
	@VIRTUAL_ENV=$(CURDIR)/.venv $(BIN)/uv pip install --quiet --require-hashes -r requirements/dev.txt
	@VIRTUAL_ENV=$(CURDIR)/.venv $(BIN)/uv pip install --quiet --no-deps --no-build-isolation $(foreach p,$(PACKAGES),-e $(p))
	@touch $@

demo: setup ## Run the main job on this machine: embedded Postgres, scheduler, two executors, emulator or real Gemini.
	@$(BIN)/python -m devkit.demo

# A worker for each core, but not so many that they disturb each other's clocks. By modules, because tests of one share
# what is slow to start.
PYTEST := env -u GEMINI_API_KEY -u GOOGLE_API_KEY -u DEEPSEEK_API_KEY $(BIN)/pytest -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

test: setup ## Run the test suite: real Postgres, real gRPC, real processes.
	@$(PYTEST) -m "not slow"

test-all: setup ## Run the test suite with the slow tests.
	@$(PYTEST)

check: setup ## Run every linter: ruff, mypy, import-linter, buf, drift of generated code, Compose and Docker files.
	@PATH="$(CURDIR)/$(BIN):$$PATH" bash deploy/check.sh

format: setup ## Format Python and proto files.
	@$(BIN)/ruff format --quiet .
	@$(BIN)/ruff check --quiet --fix --select I .
	@$(BIN)/buf format -w protos

proto: setup ## Generate the Python code of the protos into libs/visionjobs.
	@PATH="$(CURDIR)/$(BIN):$$PATH" bash protos/generate.sh libs/visionjobs/src

requirements: setup ## Compile the hash-pinned requirement files (add UPGRADE=--upgrade for newer versions).
	@$(COMPILE) $(UPGRADE) pyproject.toml --group dev -o requirements/dev.txt
	@$(COMPILE) -c requirements/dev.txt services/scheduler/pyproject.toml -o requirements/scheduler.txt
	@$(COMPILE) -c requirements/dev.txt services/executor/pyproject.toml -o requirements/executor.txt
	@$(COMPILE) -c requirements/dev.txt libs/visionjobs/pyproject.toml -o requirements/client.txt
	@$(COMPILE) -c requirements/dev.txt libs/devkit/pyproject.toml -o requirements/devkit.txt

SEEDS ?= 500
FIRST ?= 0
simulate: setup ## Simulate histories under a virtual clock: make simulate SEEDS=n [FIRST=seed].
	@$(BIN)/python tests/simulation --seeds $(SEEDS) --first $(FIRST)

bench: setup ## Measure drain, latency, occupancy and overload on this machine.
	@$(BIN)/python -m bench

bench-faults: setup ## A thousand jobs against a provider that fails in every way: how they end, and what was paid.
	@$(BIN)/python -m bench.provider_faults

bench-memory: setup ## Five thousand jobs with images of their own through one executor: is its memory flat?
	@$(BIN)/python -m bench.executor_memory

clean: ## Remove the environment and every cache.
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
