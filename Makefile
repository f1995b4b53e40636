# Every target sets up what it needs, from nothing. PYTHON names the interpreter to build on.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help demo test test-all test-lowest test-local check format bench constraints clean

help: ## Say what there is.
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(VENV)/.ready ## Route graded prompts over two small models on this machine (LARGE=, PROMPTS=, RUN_CODE=1).
	$(BIN)/python -m examples.demo

test: $(VENV)/.ready ## Run the tests; no model, no key, no network.
	$(BIN)/python -m pytest -q

test-all: test test-lowest test-local ## Also on the lowest declared versions, and what [local] needs (torch).

test-lowest: .venv-lowest/.ready
	.venv-lowest/bin/python -m pytest -q

# torch first, by its exact version: anything looser may resolve to a build of several gigabytes.
test-local: .venv-local/.ready
	.venv-local/bin/python -m pytest -q

check: $(VENV)/.ready ## Format, lint, types, import rules.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.ready ## Put the code in form.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The other router needs nothing more than is there; without it (offline, say) its rows are left out.
bench: $(VENV)/.ready ## Measure what a routed call adds to the bare one, beside two others.
	-$(PIP) install --quiet --constraint constraints.txt --group bench
	$(BIN)/python -m examples.benchmarks.overhead

# Versions alone, no addresses: installs the newest that resolve and notes them down.
constraints: ## Renew constraints.txt.
	rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --upgrade "pip>=25.1"
	$(PIP) install --quiet --editable ".[demo,agents]" --group dev
	$(PIP) freeze --exclude-editable > constraints.txt
	touch $(VENV)/.ready

clean: ## Remove what these targets made here (downloaded models stay in the user's cache).
	rm -rf $(VENV) .venv-lowest .venv-local build dist .mypy_cache .ruff_cache .pytest_cache

# pip upgrades itself first: the one of a new environment may not know dependency groups.
$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --upgrade "pip>=25.1"
	$(PIP) install --quiet --constraint constraints.txt --editable ".[demo,agents]" --group dev
	touch $@

.venv-lowest/.ready: pyproject.toml constraints-lowest.txt
	$(PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/python -m pip install --quiet --upgrade "pip>=25.1"
	.venv-lowest/bin/python -m pip install --quiet --constraint constraints-lowest.txt --editable ".[demo,agents]" --group test
	touch $@

.venv-local/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-local
	.venv-local/bin/python -m pip install --quiet --upgrade "pip>=25.1"
	.venv-local/bin/python -m pip install --quiet "torch==2.13.0"
	.venv-local/bin/python -m pip install --quiet --constraint constraints.txt --editable ".[demo,agents,local]" --group test
	touch $@
