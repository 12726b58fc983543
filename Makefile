# Two commands on a fresh machine: `make demo` and `make test`. CONTRIBUTING.md explains the others.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TOOLS := .venv-tools
RAY := .venv-ray
PIP_INSTALL := -m pip install --quiet --disable-pip-version-check
PIP = $(BIN)/python $(PIP_INSTALL)
CHECKED := src tests benchmarks examples tools
export NO_MKDOCS_2_WARNING := 1

.PHONY: help demo demo-processes install foreign test test-slow test-nightly test-gpu test-ray doctest
.PHONY: lint format imports circles types docs docs-serve diagrams gallery bench wheel-check
.PHONY: lock audit changelog release gpu-wheels gpu-session clean

help:
	@grep -E '^## ' $(MAKEFILE_LIST) | sed 's/^## /  /'

# ------------------------------------------------------------------ using it

## demo             three clusters, three protocols, LeNet-5 on real MNIST digits
demo: $(STAMP)
	$(BIN)/wwfl demo $(ARGS)

## demo-processes   the same, every server a process of its own
demo-processes: $(STAMP)
	$(BIN)/wwfl demo --processes $(ARGS)

## install          everything into .venv, other people's engines (CrypTen, MPyC) included
install foreign: $(STAMP)

# ------------------------------------------------------------------ tests

## test             the tests (ARGS=... goes to pytest)
test: $(STAMP)
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -q -m "not slow" -n auto --maxprocesses 8 --dist worksteal $(ARGS)

## doctest          the examples in docstrings
doctest: $(STAMP)
	$(BIN)/python -m pytest -q tests/documents/test_docstrings.py $(ARGS)

## test-slow        the exhaustive runs: every tampered message, 10^8 truncations per protocol
test-slow: $(STAMP)
	WWFL_TRUNCATIONS=100000000 $(BIN)/python -m pytest -q -m slow --timeout 3600 $(ARGS)

## test-nightly     conversion between all ordered pairs, 10,000 cases each (WWFL_SEED=n repeats a run)
test-nightly: $(STAMP)
	WWFL_RESHARE_CASES=10000 $(BIN)/python -m pytest -q -m slow --timeout 3600 tests/conversion/test_reshare_properties.py $(ARGS)

## test-gpu         the tests that need a GPU, in the Python that has CuPy (PYTHON=...)
test-gpu:
	$(PYTHON) tools/checkout_metadata.py build/metadata
	PYTHONPATH=build/metadata:src $(PYTHON) -m pytest -q -m gpu tests/core/accelerate $(ARGS)

## test-ray         the tests that need Ray, which is installed in a folder of its own: it is large
test-ray: $(STAMP)
	$(PIP) --upgrade --target $(RAY) 'ray>=2.40'
	PYTHONPATH=$(CURDIR)/$(RAY) $(BIN)/python -m pytest -q -m slow tests/learning/experiments/test_spread.py $(ARGS)

# ------------------------------------------------------------------ checks

## lint             style of the source
lint: $(STAMP)
	$(BIN)/ruff check $(CHECKED)
	$(BIN)/ruff format --check $(CHECKED)

## format           puts the source into that style
format: $(STAMP)
	$(BIN)/ruff check --fix $(CHECKED)
	$(BIN)/ruff format $(CHECKED)

## imports          who may import whom (contracts in pyproject.toml)
imports: $(STAMP)
	PYTHONPATH=src $(BIN)/lint-imports --cache-dir build/import_linter

## circles          circles among imports of our modules; there must be none
circles: $(STAMP)
	$(BIN)/python tools/circles.py

## types            pyright; the engines of other people are installed, so what wraps them is checked
types: $(STAMP)
	$(BIN)/pyright

# ------------------------------------------------------------------ documents

## docs             the site, into build/site; a warning is an error
docs: $(STAMP)
	$(BIN)/mkdocs build --strict  # (--quiet would hide the warnings from --strict)
	$(BIN)/python tools/site_check.py build/site

## docs-serve       the site on localhost, rebuilt when a page changes
docs-serve: $(STAMP)
	$(BIN)/mkdocs serve

## diagrams         draws the diagrams of docs/explanation again
diagrams:
	$(PYTHON) tools/diagrams.py

## gallery          runs the examples, writes docs/gallery (ARGS=--quick: bounded forms, no pages)
gallery: $(STAMP)
	$(BIN)/python tools/gallery.py $(ARGS)

## bench            one LeNet step in every protocol
bench: $(STAMP)
	$(BIN)/python -m benchmarks.lenet_step --json -

# ------------------------------------------------------------------ releases

## lock             writes requirements*.lock and constraints.txt (ARGS=--upgrade: newest versions)
lock: $(TOOLS)/.installed
	$(TOOLS)/bin/python tools/lock.py $(ARGS)

## audit            known vulnerabilities of what the locks install (asks PyPI; what it cannot tell is a failure)
audit: $(TOOLS)/.installed
	$(TOOLS)/bin/pip-audit --strict --require-hashes --disable-pip -r requirements.lock
	$(TOOLS)/bin/pip-audit --strict --require-hashes --disable-pip -r requirements-tools.lock

## changelog        what the fragments in changes/ will say (a release writes it)
changelog: $(TOOLS)/.installed
	$(TOOLS)/bin/towncrier build --draft --version next

## wheel-check      builds a wheel, installs it where no checkout is near, runs the demo and the README
wheel-check: $(STAMP)
	$(PYTHON) tools/wheel_check.py

## release          VERSION=x: changelog, version, tag, wheel and notes in dist/; publishes nothing
release: $(TOOLS)/.installed
	$(TOOLS)/bin/python tools/release.py $(VERSION)

# ------------------------------------------------------------------ a machine with a GPU

# What a machine with a GPU, CuPy and torch may lack, as wheels to carry there (Python 3.12 on x86-64;
# docs/how-to/gpu.md).
GPU_WHEELS := cryptography cffi pycparser blake3 pydantic pydantic-core annotated-types typing-inspection typing-extensions
gpu-wheels:
	rm -rf .gpu-wheels
	$(PYTHON) -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
		--python-version 3.12 --implementation cp --platform manylinux_2_34_x86_64 --platform manylinux_2_28_x86_64 \
		--platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 -c constraints.txt -d .gpu-wheels $(GPU_WHEELS)
	du -sh .gpu-wheels

# On that machine: wheels, tests, measurements, in one call of less than ten minutes.
gpu-session:
	PYTHON=$(PYTHON) sh benchmarks/gpu_session.sh

# ------------------------------------------------------------------ environments

# The lock is complete, so nothing is resolved (--no-deps) and every file's hash is checked. torch
# comes after it, from whatever index this machine uses: its build differs, CPU or CUDA.
$(STAMP): pyproject.toml requirements.lock constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) --no-deps --require-hashes -r requirements.lock
	$(PIP) -c constraints.txt torch
	$(PIP) --no-deps -e .
	touch $(STAMP)

$(TOOLS)/.installed: requirements-tools.lock
	$(PYTHON) -m venv $(TOOLS)
	$(TOOLS)/bin/python $(PIP_INSTALL) --no-deps --require-hashes -r requirements-tools.lock
	touch $(TOOLS)/.installed

clean:
	rm -rf $(VENV) $(TOOLS) $(RAY) build dist src/*.egg-info
