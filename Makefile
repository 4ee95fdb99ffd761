# make demo     install tippers, simulate a campus, compute everything and show the results
# make demo SMARTSPEC=folder   the same with a SmartSPEC scenario
# make up       start the app and Dagster; stop them with Ctrl-C
# make test     run all tests
# make lint     run ruff and mypy
# make bench    run the benchmarks
# make soak     kill runs, daemon and database at random moments
# make clean    remove the virtual environment and caches, but not the home

PYTHON ?= $(shell command -v python3.11 || command -v python3 || echo python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# mypy has a separate environment: dbt and mypy need different versions of pathspec.
LINT_STAMP := $(VENV)-lint/.installed
BENCH_STAMP := $(VENV)/.installed-bench

# Number of test processes, each with its own database server.
WORKERS ?= 2

.PHONY: demo up test lint bench soak clean install
.DEFAULT_GOAL := demo

install: $(STAMP)

demo: $(STAMP)
	$(BIN)/tippers demo $(if $(SMARTSPEC),--smartspec "$(SMARTSPEC)")

up: $(STAMP)
	$(BIN)/tippers up

test: $(STAMP)
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

lint: $(STAMP) $(LINT_STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(VENV)-lint/bin/mypy --python-executable $(BIN)/python

bench: $(BENCH_STAMP)
	$(BIN)/python -m benchmarks $(ARGS)

soak: $(STAMP)
	$(BIN)/python -m benchmarks.soak $(ARGS)

clean:
	rm -rf $(VENV) $(VENV)-lint build dist .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMP): pyproject.toml constraints.txt
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "tippers needs Python 3.11 or newer; found: $$("$(PYTHON)" --version 2>&1)." >&2; \
	  echo "Install it, or use another one: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@"$(PYTHON)" -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo "$(PYTHON) cannot create virtual environments; on Debian: apt install python3-venv" >&2; \
	  exit 1; }
	test -x $(BIN)/python || "$(PYTHON)" -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

$(BENCH_STAMP): $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,bench]'
	touch $@

$(LINT_STAMP): $(STAMP)
	"$(PYTHON)" -m venv $(VENV)-lint
	$(VENV)-lint/bin/python -m pip install --quiet --disable-pip-version-check 'mypy>=2.4,<3' \
	  "$$($(BIN)/python -m pip freeze | grep -i '^pydantic==')" pydantic-settings
	touch $@
