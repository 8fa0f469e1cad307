# Developers' commands. Each needs Python 3.11+ and nothing else: the first call installs into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# A worker a core, each test file whole on one of them: tests compute with one thread each.
PARALLEL := -n auto --dist loadfile
# Tests of what stands on libraries other than torch.
LOWEST := tests/data tests/config tests/reporting tests/runs tests/runtime tests/inference tests/evaluation tests/api
# A changed lock or setup.py asks for a new install; an untouched one installs nothing.
DEPS := requirements-dev.lock setup.py

.PHONY: help install train test test-all lowest check bench faults lock clean

help:
	@echo "make train     install, then train on scikit-learn's digits (a demonstration, about 2 minutes)"
	@echo "make test      install, then run the fast tests (under 10 minutes on 2 cores)"
	@echo "make test-all  the fast tests and the long ones"
	@echo "make check     ruff and mypy"
	@echo "make bench     throughput tables (pytest bench/)"
	@echo "make faults    every fault of the table at length: kills, full disks, damaged files (long; a table)"
	@echo "make lowest    tests of what stands on libraries, with the oldest ones that setup.py allows (torch's but one)"
	@echo "make lock      resolve both locks anew from setup.py: requirements.lock for users, requirements-dev.lock"

install: $(STAMP)

$(STAMP): $(DEPS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "fastgan needs Python 3.11 or newer; name one: make PYTHON=python3.11 $(MAKECMDGOALS)" >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
		{ echo "Python's venv module is missing: install it (Debian and Ubuntu: python3-venv)" >&2; exit 2; }
	@echo "installing into $(VENV) (once, two to four minutes without a word; about 6 GB with torch's CUDA libraries) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

train: $(STAMP)
	@$(BIN)/python -m fastgan.train --amp --compile

test: $(STAMP)
	@$(BIN)/python -m pytest tests $(PARALLEL)

test-all: $(STAMP)
	@$(BIN)/python -m pytest tests -m "" $(PARALLEL)

# The oldest releases shadow those of .venv; torch and triton are the lock's, which are the oldest ones allowed. Old
# releases use what new ones deprecate, hence no warning is an error here.
lowest: $(STAMP)
	@rm -rf build/lowest
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-warn-conflicts --target build/lowest -r lowest.txt
	@PYTHONPATH=build/lowest $(BIN)/python -m pytest -W default $(LOWEST) $(PARALLEL)

check: $(STAMP)
	@$(BIN)/python -m ruff check .
	@$(BIN)/python -m ruff format --check .
	@$(BIN)/python -m mypy
	@$(BIN)/python -m mypy --explicit-package-bases bench

bench: $(STAMP)
	@$(BIN)/python -m pytest bench

faults: $(STAMP)
	@PYTHONPATH=tests $(BIN)/python -m faults --long --save

# uv writes one lock for every system and Python that setup.py allows. Users get the developers' releases, less what
# tests need.
UV := uv pip compile --universal --python-version 3.11 --generate-hashes --quiet --custom-compile-command "make lock"
lock:
	@$(UV) --constraint constraints.txt setup.py --extra gpu --extra dev -o requirements-dev.lock
	@cp requirements-dev.lock requirements.lock
	@$(UV) --constraint constraints.txt setup.py --extra gpu -o requirements.lock

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache
