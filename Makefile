# make demo: build what is missing and watch an address move.   make test: install what the tests need and run them all.
# make sanitize: core and engine under the address, undefined behaviour and thread sanitizers.
# make bench: measure everything on this machine (about 100 minutes; it must be idle) and write docs/benchmarks.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
SOURCES := $(wildcard src/fastvrrp/*.pyx src/fastvrrp/*.pxd src/fastvrrp/core/*) setup.py pyproject.toml

# Programs start as they do where they are installed: not compiling each of their modules every time.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test build lint sanitize sanitize-memory sanitize-threads sanitized-memory sanitized-threads prepare bench clean
build: .stamps/build

.stamps/venv: pyproject.toml
	@mkdir -p .stamps
	tools/install-build-packages $(PYTHON)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --upgrade pip 'setuptools>=77' wheel 'cython>=3.1,<4'
	@touch $@

# Whatever it is compiled with, the C is the same. cythonize is all that setup.py does here.
src/fastvrrp/_core.c: .stamps/venv $(SOURCES)
	@rm -f $@
	$(BIN)/python setup.py -q --name >/dev/null

.stamps/build: src/fastvrrp/_core.c
	$(BIN)/pip install -q --no-build-isolation -e .
	@touch $@

# The tests are collected so that their bytecode is made once, not by each of the first workers; whoever
# runs them says what cannot be collected.
.stamps/dev: .stamps/build
	$(BIN)/pip install -q --group dev --group bench
	@$(BIN)/python -m pytest -p no:cacheprovider --collect-only -q >/dev/null || true
	@touch $@

# Behind the other that asks apt: it lets one in at a time.
.stamps/system: tools/install-test-packages | .stamps/venv
	@mkdir -p .stamps
	$(SUDO) tools/install-test-packages
	@touch $@

demo: .stamps/build
	$(BIN)/fastvrrp lab

lint: .stamps/dev
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && PATH="$(CURDIR)/$(BIN):$$PATH" cython-lint src/fastvrrp

test: .stamps/system .stamps/dev
	$(SUDO) env PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python tools/run-tests

sanitize: sanitize-memory sanitize-threads

sanitize-memory sanitize-threads: sanitize-%: .stamps/system .stamps/dev sanitized-%
	$(SUDO) tools/sanitize $(BIN)/python $*

sanitized-memory sanitized-threads: sanitized-%: src/fastvrrp/_core.c
	tools/sanitize --build $(BIN)/python $*

# What test, sanitize and lint need; with -j, side by side.
prepare: .stamps/system .stamps/dev sanitized-memory sanitized-threads

bench: .stamps/system .stamps/dev
	@mkdir -p build/bench
	$(BIN)/python -m pytest bench/micro -p no:cacheprovider --benchmark-json=build/bench/micro.json
	$(SUDO) $(BIN)/python -m bench.rig --fresh --micro build/bench/micro.json
	$(SUDO) $(BIN)/python -m bench.rig

clean:
	rm -rf build .stamps $(VENV) src/fastvrrp/_core.c src/fastvrrp/*.so
