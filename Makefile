# `make demo` and `make test` do their own set-up, on Debian or Ubuntu with Python 3.11 or 3.12; called again they skip what is there.
.PHONY: help demo song audit gpu test test-fast env venv system test-system lock format clean
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c

PYTHON ?= $(firstword $(foreach p,python3.11 python3.12 python3,$(shell $p -c 'import sys; (3, 11) <= sys.version_info[:2] <= (3, 12) and print("$p")' 2>/dev/null)))
UV := .venv/bin/uv
EXPORT := $(UV) export --quiet --frozen --no-header --no-annotate
PACKAGES := ca-certificates libfluidsynth3 timgm6mb-soundfont
PYTEST := .venv/bin/python -m pytest -n 3 --dist loadgroup --durations 15

help: ## list these targets
	@sed -n 's/^\([a-z-]*\):.*## /make \1\t/p' $(MAKEFILE_LIST) | expand -t 16

# By default glibc returns a large tensor's memory at once; getting it back costs a CPU a fifth of the training's time.
export MALLOC_MMAP_MAX_ := 0
export MALLOC_TRIM_THRESHOLD_ := 4294967296

demo: env ## run the whole pipeline, small, on this machine's CPU; ends with the results table
	.venv/bin/snakemake --profile demo
	@echo
	@cat results/demo/table.md
	@echo
	@echo "The same as a page:   results/demo/table.html"
	@echo "Listen and look:      results/demo/report/index.html"
	@echo "Where it came from:   results/demo/provenance/ro-crate-metadata.json (and: make audit)"
	@echo "What it cost:         results/demo/cost.csv"

override export PROMPT := $(value PROMPT)
song: env ## after make demo: make song PROMPT="a calm waltz for harp and strings"
	@[ -n "$$PROMPT" ] || { echo 'Say what to compose: make song PROMPT="a calm waltz for harp and strings"' >&2; exit 1; }
	.venv/bin/snakemake --profile demo compose \
	  --config "prompts=$$(.venv/bin/python -c 'import json, os; print(json.dumps([os.environ["PROMPT"]], ensure_ascii=False))')"
	@echo
	@echo "Listen and look:      results/demo/compose/index.html"
	@ls results/demo/compose/samples/*/*

RUN := demo
audit: env ## say what of a run is not as its jobs made it: make audit RUN=paper
	@PYTHONPATH=workflow .venv/bin/python -m libretto audit results/$(RUN)

test: env test-system ## run all checks and tests, with a short form of the demo and a Slurm cluster on this machine
	$(PYTEST)

test-fast: env ## run the tests that take seconds
	$(PYTEST) -m "not slow"

GPU_PYTHON := $(firstword $(wildcard .venv/bin/python) python3)
gpu: ## on a machine with a GPU, torch and transformers: check the GPU against the CPU, then measure its speed
	$(GPU_PYTHON) -m tests.gpu checks
	export PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True; for model in amt llama-1b llama-3b; do \
	  $(GPU_PYTHON) -m tests.gpu train $$model && $(GPU_PYTHON) -m tests.gpu generate $$model || exit; \
	done
	$(GPU_PYTHON) -m tests.gpu table

env: system ## set up only: system packages and .venv
	@$(UV) sync --frozen --check --inexact --quiet 2>/dev/null || $(MAKE) --no-print-directory venv

# Not by `uv sync`, which fetches from PyPI itself where pip is configured to use a mirror. Bytecode is compiled here:
# without it, every job of a machine that sets PYTHONDONTWRITEBYTECODE takes seconds more to import torch.
venv: INDEX = $(shell .venv/bin/pip config list | sed -n "s/^[^=]*\.index-url='\(.*\)'$$/\1/p" | head -n 1)
venv:
	$(EXPORT) | $(UV) pip sync --compile-bytecode $(INDEX:%=--default-index %) --require-hashes -

# pip installs the first uv, and uv all that uv.lock says, itself included.
$(UV):
	@[ -n "$(PYTHON)" ] || { echo "Python 3.11 or 3.12 is needed. To get one with pipx: pipx run uv python install 3.12, then make PYTHON=\$$(pipx run uv python find 3.12)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || sh envs/system-packages.sh "$$($(PYTHON) -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')"
	$(PYTHON) -m venv --clear .venv
	.venv/bin/pip install --quiet --disable-pip-version-check --require-hashes -r envs/uv.txt

system: $(UV)
	@if command -v apt-get >/dev/null; then sh envs/system-packages.sh $(PACKAGES); \
	elif ! .venv/bin/python -c 'import ctypes.util, sys; sys.exit(not ctypes.util.find_library("fluidsynth"))'; then \
	  echo "FluidSynth's library is needed, and there is no apt-get: install it (Fedora: fluidsynth-libs, Arch: fluidsynth), then call make again" >&2; exit 1; fi

# What a few tests compare with; they are skipped, visibly, where it cannot be had.
test-system: system
	@sh envs/system-packages.sh slurm-wlm munge || echo "Slurm cannot be installed: its test will be skipped" >&2
	@sh envs/system-packages.sh chromium || echo "Chromium cannot be installed: the page's tests will be skipped" >&2
	@sh envs/system-packages.sh fluidsynth fluid-soundfont-gm abcmidi || echo "FluidSynth's command, FluidR3_GM or abcmidi cannot be installed: tests that compare with them will be skipped" >&2

lock: $(UV) ## resolve pyproject.toml again: uv.lock, envs/uv.txt and the pins of the conda environments
	$(UV) lock --default-index https://pypi.org/simple
	$(EXPORT) --only-group uv --output-file envs/uv.txt
	for stage in data models audio report; do \
	  sed -i '/^  - pip:$$/q' envs/$$stage.yaml && \
	  $(EXPORT) --no-default-groups --group $$stage --no-hashes | sed 's/ ;.*//; s/^/      - /' >>envs/$$stage.yaml || exit; \
	done

format: env ## format the code
	.venv/bin/ruff format .
	.venv/bin/ruff check --fix .
	PATH="$(CURDIR)/.venv/bin:$$PATH" snakefmt Snakefile workflow # it calls the shfmt beside it

clean: ## remove the demo's results
	rm -rf results/demo results/standins/demo
