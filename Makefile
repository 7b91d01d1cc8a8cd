# make demo, make test: each sets up what it needs, with nothing but Python 3.11 or newer.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DATABASE ?= swarm.db
DEMO_ARGS ?=
TORTURE_ARGS ?=
MIGRATION_ARGS ?=
MUTATION_ARGS ?=
LARGE_ARGS ?=
TELEMETRY_ARGS ?=
# The files of tests are shared out among processes, in their order: those that take longest do not come last.
PYTEST := $(BIN)/python -m pytest -q --numprocesses=auto --maxprocesses=4 --dist=loadfile --no-loadscope-reorder

# Without bytecode, each of the hundreds of processes that the tests start compiles the package anew.
unexport PYTHONDONTWRITEBYTECODE

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
	@$(BIN)/python -m pip install --quiet --editable '.[cli,postgres,web]'
	@touch $@

$(VENV)/dev: $(VENV)/made pyproject.toml conformance/pyproject.toml
	@$(BIN)/python -m pip install --quiet --editable '.[dev]' --editable conformance
	@touch $@ $(VENV)/demo

$(VENV)/mutation: $(VENV)/dev
	@$(BIN)/python -m pip install --quiet --editable '.[mutation]'
	@touch $@

.PHONY: demo
demo: $(VENV)/demo ## Run a real swarm over Python's own standard library
	@$(BIN)/swarm-persistence demo --database '$(DATABASE)' $(DEMO_ARGS)

.PHONY: browser-needs
browser-needs: $(VENV)/dev ## Bring Chromium and Firefox (as root), Pyodide and its wheels for the browser tests
	@$(BIN)/python -m chromium

.PHONY: test
test: $(VENV)/dev ## Run all tests; those in the browser say what they lack
	@$(BIN)/python -m chromium || true
	@$(PYTEST) -m 'not frameworks and not browsers'

.PHONY: test-fast
test-fast: $(VENV)/dev ## Run all tests but those in the browser (tests/browser)
	@$(PYTEST) -m 'not frameworks and not browsers' --ignore=tests/browser

.PHONY: test-frameworks
test-frameworks: $(VENV)/dev ## Run the facts about adapters, and the frameworks' own tests whole, on all engines
	@$(PYTEST) -rP tests/contrib

.PHONY: test-browsers
test-browsers: browser-needs ## Run all tests in Chromium and Firefox, WasmStorage's whole conformance included
	@$(BIN)/python -m pytest -q -n0 --durations=3 tests/browser

.PHONY: torture
torture: $(VENV)/dev ## Cut the power, break the disk, kill and damage, thousands of times, in about ten minutes
	@PYTHONPATH=tests $(BIN)/python -m torture $(TORTURE_ARGS)

.PHONY: migrate-postgres
migrate-postgres: $(VENV)/dev ## Migrate 2,000,000 tasks of the previous release while it works on them, in about ten minutes
	@PYTHONPATH=tests $(BIN)/python -m postgres.migration_trial $(MIGRATION_ARGS)

.PHONY: contract
contract: $(VENV)/dev ## Try the HTTP API with 50 requests of each kind, valid and invalid, in a quarter of an hour
	@CONTRACT_EXAMPLES=50 $(BIN)/python -m pytest -q -n0 tests/web/test_contract.py

.PHONY: mutate
mutate: $(VENV)/mutation ## Try 120 mutants of storage/, worker/ and engines/sql/sqlite/, in about half an hour
	@$(BIN)/python -m mutation $(MUTATION_ARGS)

.PHONY: demo-browser
demo-browser: $(VENV)/dev ## Serve a page in which a swarm works in the browser itself
	@$(BIN)/python -m examples.browser

.PHONY: page-pictures
page-pictures: browser-needs ## Take the pictures of the live page that docs/page.md shows
	@PYTHONPATH=tests $(BIN)/python -m web.page_pictures docs

.PHONY: bench-browser
bench-browser: browser-needs ## Measure in the browser, beside plain JavaScript, and write docs/performance-browser.md
	@$(BIN)/python -m benchmarks.browser

.PHONY: bench
bench: $(VENV)/dev ## Measure beside the peers, in about twenty minutes, and write docs/performance.md
	@$(BIN)/python -m benchmarks

.PHONY: bench-quick
bench-quick: $(VENV)/dev ## Measure beside the peers, in under two minutes
	@$(BIN)/python -m benchmarks --quick

.PHONY: bench-postgres
bench-postgres: $(VENV)/dev ## Measure on PostgreSQL beside its peers, in under ten minutes
	@$(BIN)/python -m benchmarks.postgres
	@$(BIN)/python -m benchmarks.postgres.processes

.PHONY: bench-nearest
bench-nearest: $(VENV)/dev ## Measure the nearest documents with sqlite-vec and pgvector and without them, in two minutes
	@$(BIN)/python -m benchmarks.nearest_documents $(NEAREST_ARGS)

.PHONY: bench-telemetry
bench-telemetry: $(VENV)/dev ## Measure what telemetry costs a call, off and on, in two minutes
	@$(BIN)/python -m benchmarks.telemetry $(TELEMETRY_ARGS)

.PHONY: bench-large
bench-large: $(VENV)/dev ## Measure how late documents of 20 MB make the event loop's other tasks, in a minute
	@$(BIN)/python -m benchmarks.large_documents $(LARGE_ARGS)

.PHONY: bench-tasks
bench-tasks: $(VENV)/dev ## Measure whole tasks by workers, in ten minutes, and renew the table and picture atop docs/performance.md
	@$(BIN)/python -m benchmarks.headline

.PHONY: bench-latency
bench-latency: $(VENV)/dev ## Measure how soon an idle worker in another process starts a task, in two minutes
	@$(BIN)/python -m benchmarks.latency --postgres $(LATENCY_ARGS)

.PHONY: bench-shared
bench-shared: $(VENV)/dev ## Measure what a second worker process on one SQLite file brings, in a minute
	@$(BIN)/python -m benchmarks.shared_file $(SHARED_ARGS)

.PHONY: bench-rust
bench-rust: $(VENV)/dev ## Build the Rust crate with cargo, measure beside it, in six minutes, and write docs/performance-rust.md
	@$(BIN)/python -m benchmarks.rust

.PHONY: bench-web
bench-web: $(VENV)/dev ## Measure workers beside a loaded server, in two minutes, and write docs/performance-web.md
	@$(BIN)/python -m benchmarks.web

.PHONY: bench-langgraph
bench-langgraph: $(VENV)/dev ## Measure LangGraph's checkpoints and memory beside its own savers, and write docs/performance-langgraph.md
	@$(BIN)/python -m benchmarks.langgraph

.PHONY: churn-postgres
churn-postgres: $(VENV)/dev ## Measure WAL, bloat and claims on PostgreSQL while tasks come and go, in half an hour
	@$(BIN)/python -m benchmarks.postgres.churn $(CHURN_ARGS)

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

.PHONY: dist
dist: $(VENV)/dev ## Build the distributions of the library and of its conformance suite
	@rm -rf dist
	@$(BIN)/python -m hatchling build -d dist
	@cd conformance && $(abspath $(BIN))/python -m hatchling build -d ../dist

.PHONY: clean
clean: ## Remove what was made, the demo's database excepted
	@rm -rf $(VENV) .browser .servers .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache dist build
