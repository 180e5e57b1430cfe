# make demo   a working three-node cluster on this machine
# make test   all checks and all tests, but for those of `make outside`: within twelve minutes of two processors
# make outside   tests that need a Docker engine or a browser: each says what it lacks
# make chaos-short   real agents under partitions, kills, wrong clocks and bad disks: within ten minutes, as root
# make chaos  all of that, about 50 minutes; make upgrade-test, a rolling upgrade alone
# make docs   the pages of docs/ as a site, in build/docs
# make lock   the newest releases of all dependencies into requirements/
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
COMPILED := $(VENV)/compiled
PYTEST_ARGS ?=
SOAK_JOBS ?= 2

.PHONY: demo test outside chaos chaos-short upgrade-test docs soak lock clean

demo: $(VENV)/.demo
	$(BIN)/kvgossip demo

test: $(VENV)/.dev
	@$(BIN)/python -m tests.tools
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy examples
	$(BIN)/lint-imports
	$(BIN)/pytest -n auto --dist worksteal -m "not outside" $(PYTEST_ARGS)

outside: $(VENV)/.dev
	$(BIN)/pytest -n auto --dist loadfile -m outside $(PYTEST_ARGS)

chaos: $(VENV)/.dev
	$(BIN)/python -m tests.chaos.suite --full

chaos-short: $(VENV)/.dev
	$(BIN)/python -m tests.chaos.suite --short

# From the first commit whose formats no later one may break to this one, under load, and one node back.
upgrade-test: $(VENV)/.dev
	$(BIN)/python -m tests.chaos upgrade

docs: $(VENV)/.dev
	$(BIN)/mkdocs build --strict --site-dir build/docs

# Every simulated fault of a thousand seeds, partitions of every shape, liars, then ten thousand seeds of deletes, and as many of types: two
# and a half hours of one processor, not part of `make test`.
SIM = cd $(COMPILED) && ../bin/python -m kvgossip sim
soak: $(COMPILED)/.built
	$(SIM) cluster --nodes 5-20 --seed 1 --runs 1000 --jobs $(SOAK_JOBS)
	$(SIM) cluster --nodes 5-20 --datacenters 1-3 --partition-rate 0.3 --datacenter-rate 0.1 --writes 50 --runs 1000 --jobs $(SOAK_JOBS)
	$(SIM) cluster --nodes 5-12 --hostile-rate 2 --stranger-rate 1 --crash-rate 0.01 --partition-rate 0.1 --runs 200 --jobs $(SOAK_JOBS)
	$(SIM) deletes --seed 10000 --runs 10000 --jobs $(SOAK_JOBS)
	$(SIM) types --runs 10000 --jobs $(SOAK_JOBS)

# The machine and its simulator, in a tree of their own, through mypyc and a C compiler: the same traces, nearly twice as fast. What stays
# as it is: classes of msgspec's, effects, a dict with a `__setitem__` of its own (compiled, it has no `del`), what takes a part of bytes by a slice that has a name
# (compiled, it takes the slice for an index), what imports numpy only where it is installed, and the options that go to other processes, since
# mypyc's frozen dataclasses can be pickled, but not unpickled.
INTERPRETED := $(addprefix kvgossip/protocol/,wire/message.py wire/exchange_messages.py wire/overview_messages.py wire/release_messages.py wire/story_messages.py wire/clock_messages.py model/lag.py model/story.py saved_state.py model/cluster_id.py model/conflicts.py model/newest.py model/member.py model/peer.py model/now.py model/change.py model/location.py effect.py store/sketch.py store/numpy_symbols.py) \
	$(addprefix kvgossip/sim/,checks/conflicts.py checks/violation.py faults.py layout.py network.py scenario.py workload.py)
SOURCES := $(wildcard kvgossip/*.py kvgossip/*/*.py kvgossip/*/*/*.py)
$(COMPILED)/.built: $(VENV)/.dev $(SOURCES)
	rm -rf $(COMPILED)
	mkdir $(COMPILED)
	cp -r kvgossip $(COMPILED)
	cd $(COMPILED) && MYPYC_OPT_LEVEL=2 MYPYC_DEBUG_LEVEL=0 ../bin/mypyc --ignore-missing-imports \
		$(filter-out %/__init__.py $(INTERPRETED),$(filter kvgossip/protocol/% kvgossip/sim/%,$(SOURCES))) >build.log 2>&1 || (tail build.log; false)
	touch $@

# What is installed is locked, with the hashes of all files that an index may give for it; the project is not from an index, so it has
# none and comes after. Its build requirements are locked as well, and so it is built without an environment that would fetch others.
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check
$(VENV)/.demo: pyproject.toml requirements/all.lock requirements/build.lock
	@$(PYTHON) -c 'import sys; sys.exit("kvgossip needs Python 3.11 or newer; choose one with: make PYTHON=python3.12 ...") if sys.version_info < (3, 11) else None'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(INSTALL) --requirement requirements/all.lock --requirement requirements/build.lock
	$(INSTALL) --no-deps --no-build-isolation --editable .
	touch $@

$(VENV)/.dev: $(VENV)/.demo requirements/dev.lock
	$(INSTALL) --requirement requirements/dev.lock
	touch $@

# What makes a client of /openapi.json, for a test. It wants an older typer than the command has, so it is beside them all.
$(VENV)/.generator: $(VENV)/.dev requirements/generator.lock
	$(BIN)/python -m venv $(VENV)/generator
	$(VENV)/generator/bin/python -m pip install --quiet --disable-pip-version-check --requirement requirements/generator.lock
	touch $@

# For every platform, and for Python 3.11 and newer. The other two are parts of dev.lock, of the same releases.
LOCK = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --custom-compile-command 'make lock'
lock: $(VENV)/.demo
	$(INSTALL) uv
	$(LOCK) --upgrade pyproject.toml --all-extras --group dev -o requirements/dev.lock
	$(LOCK) --upgrade pyproject.toml --extra all --constraint requirements/dev.lock -o requirements/all.lock
	$(LOCK) --upgrade --group build --constraint requirements/dev.lock -o requirements/build.lock
	$(LOCK) --upgrade --group generator -o requirements/generator.lock

clean:
	rm -rf $(VENV) build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
