# Each target first makes .venv from pyproject.toml, with the versions in constraints.txt. These include the versions of pip
# and of the tools that build the package.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-fast check clean

demo: .venv/.ready  ## five strategies on embedded images, and a report
	rm -rf runs/demo
	$(BIN)/headstart train experiment=demo
	$(BIN)/headstart train experiment=demo_digits
	$(BIN)/headstart report runs/demo

test: .venv/.ready  ## all tests, in one process more than there are cores
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

test-fast: .venv/.ready  ## without the slow ones
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder -m "not slow"

check: .venv/.ready  ## style and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

.venv/.ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11, 4) and "headstart needs Python 3.11.4 or later: make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --build-constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv runs
