# make demo, make test: each sets up what it needs, with nothing but Python 3.11 or newer.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DATABASE ?= swarm.db
DEMO_ARGS ?=

.DEFAULT_GOAL := help

.PHONY: help
help: ## Show what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-12s %s\n", $$1, $$2}'

$(VENV)/made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "swarm-persistence needs Python 3.11 or newer; name one: make PYTHON=python3.12 …"; exit 1; }
	@$(PYTHON) -m venv $(VENV) \
	  || { echo "this Python cannot make a virtual environment; on Debian: apt-get install python3-venv"; exit 1; }
	@touch $@

# One stamp for each set of packages, so that the demo need not wait for the developers' tools.
$(VENV)/demo: $(VENV)/made pyproject.toml
	@$(BIN)/python -m pip install --quiet --editable '.[cli]'
	@touch $@

$(VENV)/dev: $(VENV)/made pyproject.toml
	@$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@ $(VENV)/demo

.PHONY: demo
demo: $(VENV)/demo ## Run a real swarm over Python's own standard library
	@$(BIN)/swarm-persistence demo --database '$(DATABASE)' $(DEMO_ARGS)

.PHONY: test
test: $(VENV)/dev ## Run all tests
	@$(BIN)/python -m pytest -q

.PHONY: bench
bench: $(VENV)/dev ## Measure beside the peers, in about twelve minutes, and write docs/performance.md
	@$(BIN)/python -m benchmarks

.PHONY: bench-quick
bench-quick: $(VENV)/dev ## Measure beside the peers, in under two minutes
	@$(BIN)/python -m benchmarks --quick

.PHONY: lint
lint: $(VENV)/dev ## Check style, format and the layers' imports
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports

.PHONY: types
types: $(VENV)/dev ## Check the types, strictly
	@$(BIN)/mypy

.PHONY: format
format: $(VENV)/dev ## Format the code
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

.PHONY: clean
clean: ## Remove what was made, the demo's database excepted
	@rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache dist build
