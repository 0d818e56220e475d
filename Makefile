# Everything a developer of Headcount does, on a machine that has Python 3.11 or newer, git and make.
# Each target makes .venv first if it is missing or older than the lock.

SHELL := /bin/bash
BIN := .venv/bin
STAMP := .venv/.installed
SPREAD := -n auto
SHORT := -m 'not long and not emulator'
LOCK_OPTIONS := --universal --generate-hashes --python-version 3.11 --no-header --no-annotate --quiet
CANDIDATES := python3 python3.14 python3.13 python3.12 python3.11
IS_NEW_ENOUGH := -c 'import sys; sys.exit(sys.version_info < (3, 11))'
PYTHON ?= $(firstword $(foreach one,$(CANDIDATES),$(if $(filter ok,$(shell $(one) $(IS_NEW_ENOUGH) 2>/dev/null && echo ok)),$(one))))

.DEFAULT_GOAL := help
.PHONY: help setup demo test stress check format conformance chaos bench lock clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## Make .venv with everything locked (quick when nothing changed)
	@echo ".venv is ready"

demo: $(STAMP) ## See it work, with no cloud and no account (DIR=folder, FAIL=1 for a failing job)
	@$(BIN)/headcount demo $(if $(DIR),"$(DIR)") $(if $(FAIL),--with-failure)

test: $(STAMP) ## Run the tests but for the long ones and the emulator's (ARGS='tests/unit -x' for some, ARGS='-m long' for those)
	@$(BIN)/pytest $(SPREAD) $(or $(ARGS),$(SHORT))

stress: $(STAMP) ## Run the tests while every processor is busy (TIMES=3, ARGS='tests/system' for some)
	@$(BIN)/python -m tests.harness.stress $(or $(TIMES),1) $(SPREAD) $(or $(ARGS),$(SHORT))

check: $(STAMP) ## Check format, lint, types and which file may import which
	@failed=0; \
	$(BIN)/ruff format --check --quiet . || { echo "Run: make format"; failed=1; }; \
	$(BIN)/ruff check --quiet . || failed=1; \
	$(BIN)/mypy --no-error-summary || failed=1; \
	$(BIN)/mypy --no-error-summary tests/harness tests/conftest.py || failed=1; \
	$(BIN)/lint-imports --no-cache > .venv/imports.txt || { cat .venv/imports.txt; failed=1; }; \
	test $$failed = 0 && echo "format, lint, types and imports are in order"

format: $(STAMP) ## Format the code and fix what the linter can fix
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

conformance: $(STAMP) ## Judge the local Pub/Sub by Google's own client
	@$(BIN)/pytest tests/contract/pubsub $(ARGS)

chaos: $(STAMP) ## Kill, cut off and crash everything while jobs run (LONG=1 for hours)
	@LONG=$(LONG) $(BIN)/python -m tests.chaos $(ARGS)

bench: $(STAMP) ## Measure throughput and latency against the budget
	@$(BIN)/headcount bench $(ARGS)

lock: $(STAMP) ## Lock the newest dependencies that pyproject.toml allows (ARGS=--upgrade to move them)
	@$(BIN)/uv pip compile $(LOCK_OPTIONS) --all-extras $(ARGS) pyproject.toml -o requirements.lock
	@$(BIN)/uv pip compile $(LOCK_OPTIONS) --extra gcp --extra otel -c requirements.lock pyproject.toml -o requirements-worker.lock

clean: ## Remove .venv and what the tools left behind
	@rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

# uv comes out of the lock too, by pip, and then installs the rest about five times as fast as pip would. The project's
# own package is installed without hashes, which the lock can't have, and without isolation: its backend is locked.
$(STAMP): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "Headcount needs Python 3.11 or newer, and none of $(CANDIDATES) is. See https://www.python.org/downloads/"; exit 1; }
	@$(PYTHON) $(IS_NEW_ENOUGH) || { echo "Headcount needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V 2>&1)."; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) cannot make a virtual environment. On Debian and Ubuntu run: apt install python3-venv"; exit 1; }
	@$(BIN)/python $(IS_NEW_ENOUGH) 2>/dev/null && $(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	@awk '/^uv==/ {on = 1} on {print; if ($$0 !~ /\\$$/) exit}' requirements.lock > .venv/uv.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r .venv/uv.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes --no-deps -r requirements.lock \
		|| { echo "uv could not install the lock; trying pip, which is slower but knows pip.conf"; \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements.lock; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@
