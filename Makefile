# Everything a person or CI does goes through these targets; `make` alone lists them.
VENV   ?= .venv
PYTHON ?= python3
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
BENCH  ?= full
DEVICE ?= cpu
LOWEST := .venv-lowest

.DEFAULT_GOAL := help
.PHONY: help setup run test test-lowest lint format bench docs sweep tensorboard clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /|/' | awk -F'|' '{printf "  make %-12s %s\n", $$1, $$2}'

setup: $(STAMP)  ## create the virtual environment (once)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --constraint constraints.txt --editable ".[dev]"
	touch $@

run: $(STAMP)  ## the main job on the embedded glyphs: three subsets × two branch points
	$(BIN)/neural-branching train -m subset=digits,upper,lower branch_point=hidden1,hidden2

test: $(STAMP)  ## the test suite (fast, offline); DEVICE=cuda runs it on a GPU
	DEVICE=$(DEVICE) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

test-lowest: $(LOWEST)/.installed  ## the test suite with the lowest versions that pyproject.toml admits
	OMP_NUM_THREADS=1 $(LOWEST)/bin/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

$(LOWEST)/.installed: pyproject.toml | $(STAMP)
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(LOWEST)
	$(BIN)/uv pip install --quiet --python $(LOWEST)/bin/python --resolution lowest-direct --editable ".[dev]"
	touch $@

lint: $(STAMP)  ## formatting, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(STAMP)  ## rewrite the code as `make lint` wants it
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(STAMP)  ## timings side by side with plain loops
	BENCH=$(BENCH) $(BIN)/python -m pytest tests/benchmarks -m benchmark -s --timeout 1800

# Without --quiet, under which --strict sees no warning.
docs: $(VENV)/.docs  ## the documentation site, into site/; a warning is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# Of its own, so that `make run` does not wait for it.
$(VENV)/.docs: $(STAMP)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable ".[docs]"
	touch $@

sweep: $(STAMP)  ## a threshold sweep on the glyphs: trains nothing that `make run` has trained
	$(BIN)/neural-branching train -m subset=digits,upper,lower threshold.value=0.5,0.7,0.9,0.96

tensorboard: $(STAMP)  ## curves, figures and the table of runs in a browser
	$(BIN)/tensorboard --logdir outputs

clean:  ## remove the environment and caches (results in outputs/ stay)
	rm -rf $(VENV) $(LOWEST) .pytest_cache .mypy_cache .ruff_cache .hypothesis dist site
