# `make` alone lists what can be done.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
# The user's uv where it works, else one of our own.
UV := $(shell uv --version >/dev/null 2>&1 && echo uv || echo $(VENV)/.uv)

.PHONY: help
help:  ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/.installed: requirements.lock pyproject.toml setup.py
	@command -v $(PYTHON) >/dev/null || { echo "make: $(PYTHON) is missing: install Python 3.11, or say where it is: make PYTHON=/path/to/python3.11"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@test $(UV) = uv || test -x $(UV) || { $(BIN)/python -m pip install --quiet --disable-pip-version-check uv && cp $(BIN)/uv $(UV); }
	@echo "installing the locked packages into $(VENV) (3 GB)"
# Compiled once here, or else every process that may not write bytecode compiles TFX again.
	@VIRTUAL_ENV=$(VENV) $(UV) pip sync --quiet --compile-bytecode --require-hashes requirements.lock
	@VIRTUAL_ENV=$(VENV) $(UV) pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

.PHONY: setup
setup: $(VENV)/.installed  ## make .venv from requirements.lock

.PHONY: demo
demo: setup  ## synthetic CT to a served model that answers, in DEMO (default ./demo)
	@$(BIN)/ctnet demo --workdir $(or $(DEMO),demo)

.PHONY: flink
flink: setup  ## fetch the Flink job server (152 MB, once) and print where it is
	@$(BIN)/python -m pipeline.runners.flink_job_server

.PHONY: test
test: setup  ## all tests but the long ones, on two cores
	@$(BIN)/python -m pytest -m "not long" -n 2 --dist loadfile

.PHONY: test-long
test-long: setup  ## the long tests: Flink, the compiled definition, retraining, the walkthrough
	@$(BIN)/python -m pytest -m long -n 2 --dist loadfile

.PHONY: unit
unit: setup  ## the fast tests alone, on two cores
	@$(BIN)/python -m pytest -m "not e2e and not slow and not long" -n 2

.PHONY: lint
lint: setup  ## ruff and mypy
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

.PHONY: format
format: setup  ## let ruff mend what it can
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

.PHONY: lock
lock: setup  ## write requirements.lock anew from pyproject.toml and overrides.txt, and the GPU's from it
	@$(UV) pip compile --quiet pyproject.toml --all-extras --group dev --override overrides.txt --python-version 3.11 --generate-hashes --no-emit-index-url --upgrade --custom-compile-command "make lock" --output-file requirements.lock
	@$(UV) pip compile --quiet deploy/requirements-gpu.in --constraint requirements.lock --python-version 3.11 --python-platform x86_64-manylinux_2_28 --generate-hashes --no-emit-index-url --no-annotate --custom-compile-command "make lock" --output-file deploy/requirements-gpu.lock

.PHONY: clean
clean:  ## remove what the targets made, but for the data of runs
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
