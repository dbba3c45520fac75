# Two commands for a fresh machine (python3 >= 3.11, make, a package registry): `make demo` and `make test`.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
SEED   ?= 1
FOR    ?= 60s
RUNS   ?= 200
MESSAGES ?= 5000000
SOURCES := pyproject.toml alembic.ini README.md $(shell find etl migrations sql -type f -not -path '*/__pycache__/*' 2>/dev/null)

.DEFAULT_GOAL := help
.PHONY: help demo test test-spark audit lint format dictionary bench bench-loaders campaign campaigns kills points explore fuzz long-run reliability lock clean

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

demo: $(VENV)/.installed ## the whole pipeline on this machine: PostgreSQL, simulated recorders, worker
	$(BIN)/cdr demo

test: $(VENV)/.installed ## all tests, against the built wheel
	$(BIN)/pytest

test-spark: $(VENV)/.spark ## the export read by Apache Spark: installs PySpark (about 500 MB), needs Java 17 or newer
	$(BIN)/pytest tests/export/spark.py

audit: $(VENV)/.dependencies $(VENV)/audit/.installed ## whether a dependency has a known hole: needs the internet, and fails where it could audit nothing
	$(BIN)/python -m tests.audit $(VENV)/audit/bin/pip-audit requirements.txt requirements-dev.txt requirements-audit.txt

lint: $(VENV)/.dependencies ## ruff, mypy --strict, import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.dependencies ## let ruff write
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

dictionary: $(VENV)/.dependencies ## docs/dictionary.md and docs/cookbook.md anew, from a database that it makes
	$(BIN)/python -m tests.write_docs

bench: $(VENV)/.installed ## the benchmarks; about five minutes
	$(BIN)/python -m benchmarks

bench-loaders: $(VENV)/.installed ## 100,000 files by us and by general loaders, which it installs; about ten minutes
	$(BIN)/python -m benchmarks files

campaign: $(VENV)/.installed ## worker, database and simulators with faults against an oracle: SEED=1 FOR=60s
	$(BIN)/python -m tests.campaign --seed $(SEED) --for $(FOR)

SIDE_BY_SIDE ?= 4
campaigns: SEEDS ?= 1000..1199
campaigns: $(VENV)/.installed ## many of them, each seed once for this code: SEEDS=1000..1199 FOR=60s SIDE_BY_SIDE=4
	$(BIN)/python -m tests.campaign many --seeds $(SEEDS) --for $(FOR) --side-by-side $(SIDE_BY_SIDE)

reliability: $(VENV)/.dependencies ## the tables of docs/reliability.md from the ledgers in tests/ledger/
	$(BIN)/python -m tests.write_reliability

kills: $(VENV)/.installed ## the worker killed by kill -9 at random moments, 200 runs into the ledger: SEED=1 RUNS=200; half an hour
	$(BIN)/python -m tests.crash kills --seed $(SEED) --runs $(RUNS) --side-by-side 4

points: $(VENV)/.installed ## the worker's path and every job killed before each step that matters; an hour
	$(BIN)/python -m tests.crash points --ledger tests/ledger

explore: SEEDS ?= 1..2000
explore: $(VENV)/.installed ## schedules of faults in virtual time against the laws: SEEDS=1..2000
	$(BIN)/python -m tests.explore --seeds $(SEEDS)

fuzz: $(VENV)/.fuzz ## foreign bytes at every entry, guided by coverage; installs atheris: FOR=60s for each target, TARGET=framing
	$(BIN)/python -m tests.fuzz run --seed $(SEED) --for $(FOR) $(TARGET)

long-run: $(VENV)/.installed ## five million messages through the worker, nothing may grow; half an hour or more: MESSAGES=5000000
	$(BIN)/python -m tests.longrun --messages $(MESSAGES) --seed $(SEED)

lock: $(VENV)/.dependencies ## resolve the dependencies again into requirements*.txt (needs uv)
	uv pip compile --upgrade --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --universal \
	    --python-version 3.11 --all-extras pyproject.toml -o requirements.txt
	uv pip compile --upgrade --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --universal \
	    --python-version 3.11 --all-extras --group dev pyproject.toml -o requirements-dev.txt
	uv pip compile --upgrade --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --universal \
	    --python-version 3.11 --group spark -o requirements-spark.txt
	uv pip compile --upgrade --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --universal \
	    --python-version 3.11 --group fuzz -o requirements-fuzz.txt
	uv pip compile --upgrade --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --universal \
	    --python-version 3.11 --group audit -o requirements-audit.txt
	for loader in dlt pipelinewise; do \
	    uv pip compile --upgrade --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --universal \
	        --python-version 3.11 benchmarks/loaders/$$loader.in -o benchmarks/loaders/$$loader.txt; \
	done

clean: ## forget everything that was built
	rm -rf $(VENV) dist build .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache

$(VENV)/.dependencies: requirements-dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "cdr-archive needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@touch $@

$(VENV)/.spark: requirements-spark.txt $(VENV)/.installed
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --no-build-isolation -r $<
	@touch $@

$(VENV)/.fuzz: requirements-fuzz.txt $(VENV)/.installed
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

$(VENV)/audit/.installed: requirements-audit.txt
	$(PYTHON) -m venv $(VENV)/audit
	$(VENV)/audit/bin/pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

$(VENV)/.installed: $(VENV)/.dependencies $(SOURCES)
	rm -rf dist
	$(BIN)/python -m build --wheel --no-isolation --outdir dist . >/dev/null
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --force-reinstall dist/*.whl
	@touch $@
