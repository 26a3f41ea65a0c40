# make run      set up, then the gateway on its embedded models
# make test     set up, then every test
# make install  set up alone        make lint   ruff, mypy, import-linter        make bench   the gateway benchmark
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Tests mostly wait, for a process to start or for a moment to come: more run side by side than there are cores. Those of
# reliability watch seconds, so two do; what runs a model, or watches milliseconds, has the machine to itself.
JOBS ?= 3
# Compiled tests are kept, whatever the environment says: to compile them takes longer than to find them.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: run install test browser npm lint bench clean

run: $(VENV)/.run
	@$(BIN)/pointsman serve --welcome

install: $(VENV)/.run

test: $(VENV)/.dev browser npm
	$(BIN)/python -m pytest -m "not alone" -n $(JOBS) --dist loadfile --ignore=tests/reliability
	$(BIN)/python -m pytest -m "not alone" -n 2 --dist loadfile tests/reliability
	$(BIN)/python -m pytest -m alone $$(grep -rlE --include='test_*.py' 'mark\.(alone|engine)' tests)

# Pages are looked at in a real browser; where none can be had, those tests are skipped and say so.
browser:
	@command -v chromium >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
	  && echo "Installing Chromium for the tests of web pages" && timeout 240 sh -c 'apt-get update -qq \
	  && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null'; } \
	  || echo "There is no Chromium: tests of web pages in a browser are skipped"

# Two coding tools that the tests run come from npm.
npm:
	@command -v npm >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
	  && echo "Installing npm for the tests of coding tools" && timeout 240 sh -c 'apt-get update -qq \
	  && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends npm >/dev/null'; } \
	  || echo "There is no npm: tests of coding tools that come from it are skipped"

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.dev
	@command -v nginx >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
	  && apt-get update -qq && apt-get install -y -qq --no-install-recommends nginx-light >/dev/null; } || true
	$(BIN)/pointsman bench gateway

clean:
	rm -rf $(VENV)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' 2>/dev/null \
	  || { echo "error: Python 3.11 to 3.14 is needed (what is pinned comes without a compiler for no other);" \
	  "name one with make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null \
	  || { echo "error: this Python cannot make virtual environments; on Debian: apt-get install python3-venv" >&2; exit 1; }
	@echo "Making a virtual environment in $(VENV)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.run: requirements/run.txt pyproject.toml | $(BIN)/python
	@echo "Installing what the gateway needs (pinned by hash)"
	@$(BIN)/python -m pip install --disable-pip-version-check --require-hashes -r requirements/run.txt
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.run
	@echo "Installing what the tests need (pinned by hash)"
	@$(BIN)/python -m pip install --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@touch $@
