# Two commands on a fresh machine with Python 3.11+ and make: `make reproduce` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
P ?= projects/digits
# Two at a time, a file's tests together: more would only fight over the cores that TensorFlow uses.
# A worker that native code ended is not replaced: the run fails then, and says in which test.
PYTEST_PARALLEL ?= --numprocesses 2 --dist loadfile --max-worker-restart 0

.PHONY: help setup reproduce test test-slow check format bench clean

help:
	@echo "make reproduce   set up, then reproduce the quick-start project (P=projects/NAME for another)"
	@echo "make test        set up, then run the tests"
	@echo "make test-slow   also the tests that train for a minute or more"
	@echo "make check       lint, types, import contracts, sizes"
	@echo "make bench       the benchmarks (minutes)"

setup: $(VENV)/.installed

# The lock is complete, so nothing is resolved: a fresh machine gets what was tested.
$(VENV)/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info < (3, 14) else "eiauto needs Python 3.11 to 3.13; try make PYTHON=python3.11 $(MAKECMDGOALS)")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-deps -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	@touch $@

reproduce: setup
	$(BIN)/eiauto reproduce $(P); code=$$?; $(BIN)/eiauto report $(P) && exit $$code

test: setup
	$(BIN)/python -m pytest $(PYTEST_PARALLEL)

test-slow: setup
	$(BIN)/python -m pytest $(PYTEST_PARALLEL) -m ""

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m pytest tests/test_house.py

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup
	for program in benchmarks/*.py; do $(BIN)/python $$program || exit 1; done

clean:
	rm -rf $(VENV) projects/*/.eiauto projects/*/deployments projects/*/report.html
