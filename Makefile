# Two commands on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo demo-processes foreign test test-slow lint types bench clean

demo: $(STAMP)
	$(BIN)/wwfl demo $(ARGS)

demo-processes: $(STAMP)
	$(BIN)/wwfl demo --processes $(ARGS)

# Other people's runtimes as protocols. Their tests are skipped without them; CI installs them with everything else.
# --no-deps: CrypTen's wheel asks for `sklearn`, which cannot be installed, and for what its protocols never use.
FOREIGN = $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,crypten]' \
	&& $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps crypten==0.4.1

foreign: $(STAMP)
	$(FOREIGN)

test: $(STAMP)
	$(BIN)/python -m pytest -q -m "not slow" $(ARGS)

# The exhaustive runs: every tampered message, 10^8 truncations per protocol.
test-slow: $(STAMP)
	WWFL_TRUNCATIONS=100000000 $(BIN)/python -m pytest -q -m slow --timeout 3600 $(ARGS)

lint: $(STAMP)
	$(BIN)/ruff check src tests benchmarks examples
	$(BIN)/ruff format --check src tests benchmarks examples

types: $(STAMP)
	$(BIN)/pyright

bench: $(STAMP)
	$(BIN)/python -m benchmarks.lenet_step --json -

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	$(if $(CI),$(FOREIGN))
	touch $(STAMP)

clean:
	rm -rf $(VENV) build dist src/*.egg-info
