# make demo   a working three-node cluster on this machine
# make test   all checks and all tests
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PYTEST_ARGS ?=

.PHONY: demo test soak clean

demo: $(VENV)/.demo
	$(BIN)/kvgossip demo

test: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -n auto --dist worksteal $(PYTEST_ARGS)

# Every simulated fault of a thousand seeds, then partitions of every shape: an hour of one processor, not part of `make test`.
soak: $(VENV)/.demo
	$(BIN)/kvgossip sim cluster --nodes 5-20 --seed 1 --runs 1000 --jobs 2
	$(BIN)/kvgossip sim cluster --nodes 5-20 --datacenters 1-3 --partition-rate 0.3 --datacenter-rate 0.1 --writes 50 --runs 1000 --jobs 2

$(VENV)/.demo: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("kvgossip needs Python 3.11 or newer; choose one with: make PYTHON=python3.12 ...") if sys.version_info < (3, 11) else None'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

$(VENV)/.dev: $(VENV)/.demo
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
