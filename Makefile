# make demo     set-up, embedded stack, a simulated campus, everything materialised and shown
# make demo SMARTSPEC=folder   the same on a SmartSPEC scenario
# make up       Dagster's web server, daemon and code server until Ctrl-C
# make check    the quick tests, those that need no database: under three minutes
# make test     all tests; ARGS=--random-order shuffles them
# make lint     ruff, mypy, import-linter, sqlfluff
# make layout   bring the picture of the packages in docs/architecture.md up to date
# make bench    the engine and the whole, measured
# make soak     processes killed, paused and cut off at random moments
# make clean    remove the virtual environment and caches (never the home)

PYTHON ?= $(shell command -v python3.11 || command -v python3 || echo python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# mypy has its own environment: dbt and it want different versions of pathspec.
LINT_STAMP := $(VENV)-lint/.installed
BENCH_STAMP := $(VENV)/.installed-bench

# Else every process compiles all modules again, and a test run starts hundreds.
unexport PYTHONDONTWRITEBYTECODE

# Tests are run by this many processes, each with a database server of its own: twice as many as
# two cores, as a test waits half of its time.
WORKERS ?= 4

.PHONY: demo up check test lint bench soak clean install
.DEFAULT_GOAL := demo

install: $(STAMP)

demo: $(STAMP)
	$(BIN)/tippers demo $(if $(SMARTSPEC),--smartspec "$(SMARTSPEC)")

up: $(STAMP)
	$(BIN)/tippers up

PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

check: $(STAMP)
	$(PYTEST) -m "not server and not slow" $(ARGS)

test: $(STAMP)
	$(PYTEST) --durations=30 --durations-min=1 $(ARGS)

lint: $(STAMP) $(LINT_STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo
	$(VENV)-lint/bin/mypy --python-executable $(BIN)/python
	$(VENV)-lint/bin/sqlfluff lint --disable-progress-bar dbt_project/models

layout: $(STAMP)
	$(BIN)/python docs/layout.py --write

bench: $(BENCH_STAMP)
	$(BIN)/python -m benchmarks $(ARGS)

soak: $(STAMP)
	$(BIN)/python -m benchmarks.soak $(ARGS)

clean:
	rm -rf $(VENV) $(VENV)-lint build dist .pytest_cache .ruff_cache .mypy_cache .hypothesis .grimp_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMP): pyproject.toml constraints.txt
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "tippers needs Python 3.11 or newer; found: $$("$(PYTHON)" --version 2>&1)." >&2; \
	  echo "Install one, or name it: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@"$(PYTHON)" -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo "$(PYTHON) cannot make virtual environments; on Debian: apt install python3-venv" >&2; \
	  exit 1; }
	test -x $(BIN)/python || "$(PYTHON)" -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

$(BENCH_STAMP): $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,bench]'
	touch $@

$(LINT_STAMP): $(STAMP)
	"$(PYTHON)" -m venv $(VENV)-lint
	$(VENV)-lint/bin/python -m pip install --quiet --disable-pip-version-check \
	  'mypy>=2.4,<3' 'sqlfluff>=4.5,<5' 'pre-commit>=4.7,<5' \
	  "$$($(BIN)/python -m pip freeze | grep -i '^pydantic==')" pydantic-settings
	touch $@
