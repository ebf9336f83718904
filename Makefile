# `make demo` and `make test` do all the set-up that they need, on Debian or Ubuntu with Python 3.11; called again they skip what is there.
.PHONY: help demo test env system test-system venv lock format clean
.DEFAULT_GOAL := help
SHELL := /bin/bash

PYTHON ?= $(firstword $(foreach p,python3.11 python3,$(shell $p -c 'import sys; sys.version_info[:2] == (3, 11) and print("$p")' 2>/dev/null)))
PACKAGES := libfluidsynth3 timgm6mb-soundfont
STAMP := .venv/installed-from.lock

help:
	@echo "make demo     the whole pipeline, small, on this machine's CPU (about ten minutes); ends with the results table"
	@echo "make test     all tests, the demo run and a run through a Slurm cluster on this machine included"
	@echo "make env      just the set-up: system packages and .venv"
	@echo "make format   format the code; make lock: resolve envs/requirements.in again; make clean: remove the demo's results"

demo: env
	.venv/bin/snakemake --profile demo
	@echo
	@cat results/demo/table.md
	@echo
	@echo "The same as a page:   results/demo/table.html"
	@echo "Listen and look:      results/demo/report/index.html"
	@echo "Where it came from:   results/demo/provenance/ro-crate-metadata.json"
	@echo "What it cost:         results/demo/cost.csv"

test: env test-system
	.venv/bin/python -m pytest -n 2 --dist loadgroup --durations 15

env: system
	@cmp -s envs/requirements.lock $(STAMP) || $(MAKE) --no-print-directory venv

system:
	@if command -v apt-get >/dev/null; then sh envs/system-packages.sh $(PACKAGES); \
	elif ! .venv/bin/python -c 'import fluidsynth' 2>/dev/null; then \
	  echo "No apt-get here: install the FluidSynth library by other means (conda-forge: fluidsynth)" >&2; fi

# What a few tests compare with; they are skipped, visibly, where it cannot be had.
test-system: system
	@sh envs/system-packages.sh slurm-wlm munge || echo "Slurm cannot be installed: its test will be skipped" >&2
	@sh envs/system-packages.sh fluidsynth fluid-soundfont-gm abcmidi || echo "FluidSynth's command, FluidR3_GM or abcmidi cannot be installed: tests that compare with them will be skipped" >&2

venv:
	@if [ -z "$(PYTHON)" ]; then echo "Python 3.11 is needed, and neither python3.11 nor python3 is one: install python3.11, or say make PYTHON=/path/to/python3.11" >&2; exit 1; fi
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || sh envs/system-packages.sh python3.11-venv
	rm -rf .venv
	$(PYTHON) -m venv .venv
	.venv/bin/pip install --quiet --disable-pip-version-check --require-hashes -r envs/requirements.lock
	cp envs/requirements.lock $(STAMP)

lock: env
	.venv/bin/python envs/lock.py

format: env
	.venv/bin/ruff format .
	.venv/bin/ruff check --fix .
	PATH="$(CURDIR)/.venv/bin:$$PATH" snakefmt Snakefile workflow # it calls the shfmt beside it

clean:
	rm -rf results/demo results/standins
