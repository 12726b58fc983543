# Two commands on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
FOREIGN := $(VENV)/.foreign
RAY := $(VENV)-ray
PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: demo demo-processes foreign test test-slow test-nightly test-gpu test-ray gpu-wheels gpu-session lint types bench clean

demo: $(STAMP)
	$(BIN)/wwfl demo $(ARGS)

demo-processes: $(STAMP)
	$(BIN)/wwfl demo --processes $(ARGS)

# Other people's runtimes as protocols; the tests need them, using wwfl does not.
foreign: $(FOREIGN)

test: $(FOREIGN)
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -q -m "not slow" -n auto --maxprocesses 8 --dist worksteal $(ARGS)

# The exhaustive runs: every tampered message, 10^8 truncations per protocol.
test-slow: $(FOREIGN)
	WWFL_TRUNCATIONS=100000000 $(BIN)/python -m pytest -q -m slow --timeout 3600 $(ARGS)

# Conversion between all ordered pairs of protocols, 10,000 generated cases each (about an hour on one core); WWFL_SEED=n repeats a run.
test-nightly: $(FOREIGN)
	WWFL_RESHARE_CASES=10000 $(BIN)/python -m pytest -q -m slow --timeout 3600 tests/conversion/test_reshare_properties.py $(ARGS)

# The tests that need a GPU, in the Python that has CuPy (by default the one on the PATH).
test-gpu:
	PYTHONPATH=src $(PYTHON) -m pytest -q -m gpu tests/core/accelerate $(ARGS)

# What a machine with a GPU, CuPy and torch may lack, as wheels to carry there (Python 3.12 on x86-64; docs/how-to/gpu.md).
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

# The tests that need Ray, which is installed in a folder of its own: it is large, and nothing else needs it.
test-ray: $(STAMP)
	$(PIP) --upgrade --target $(RAY) 'ray>=2.40'
	PYTHONPATH=$(CURDIR)/$(RAY) $(BIN)/python -m pytest -q -m slow tests/learning/experiments/test_spread.py $(ARGS)

lint: $(STAMP)
	$(BIN)/ruff check src tests benchmarks examples
	$(BIN)/ruff format --check src tests benchmarks examples

# Other people's runtimes are installed, so that what wraps them is checked against them.
types: $(FOREIGN)
	$(BIN)/pyright

bench: $(STAMP)
	$(BIN)/python -m benchmarks.lenet_step --json -

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) -c constraints.txt -e '.[dev]'
	touch $(STAMP)

# --no-deps: CrypTen's wheel asks for `sklearn`, which cannot be installed, and for what its protocols never use.
$(FOREIGN): $(STAMP)
	$(PIP) -c constraints.txt -e '.[dev,crypten,mpyc]'
	$(PIP) --no-deps crypten==0.4.1
	touch $(FOREIGN)

clean:
	rm -rf $(VENV) $(RAY) build dist src/*.egg-info
