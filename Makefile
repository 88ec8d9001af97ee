# Targets: demo, test, test-all, test-oldest, test-newest, lint, format, clean. Each one sets up what it needs; later runs
# reuse it.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
CONSTRAINTS := constraints.txt
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Two workers of about 1.5 GB, each with whole files of tests; tests/conftest.py says which come first.
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: help demo test test-all test-oldest test-newest lint format clean

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(READY): pyproject.toml $(CONSTRAINTS)
	@test -n "$(PYTHON)" || { echo "wingmark needs Python 3.11 or newer; install it, or name one: make PYTHON=/path/to/python3"; exit 1; }
	@echo "Setting up $(VENV) with $(PYTHON) (PyTorch is a large download; this happens once)"
	@$(PYTHON) -m venv $(VENV) || { echo "No virtual environment could be made; on Debian or Ubuntu: apt install python3-venv"; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS) -e ".[dev]"
	@touch $@

demo: $(READY) ## train and test a small model on synthetic faces: runs/demo
	@rm -rf runs/demo
	$(BIN)/wingmark fit --config configs/recipes/demo.yaml --name demo
	$(BIN)/wingmark test --run runs/demo

test: $(READY) ## the tests, about 10 minutes on two cores
	$(PYTEST) -m "not long"

test-all: $(READY) lint ## all tests, the long ones included, and the linter
	$(PYTEST)

test-oldest: ## the tests with the oldest releases that pyproject.toml allows
	$(MAKE) test VENV=.venv-oldest CONSTRAINTS=constraints-oldest.txt

test-newest: ## the tests with the newest ones
	rm -rf .venv-newest
	$(MAKE) test VENV=.venv-newest CONSTRAINTS=/dev/null

lint: $(READY) ## check style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(READY) ## apply style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## remove caches, keep runs
	rm -rf .pytest_cache .ruff_cache src/*.egg-info
	find src tests -name __pycache__ -prune -exec rm -rf {} +
