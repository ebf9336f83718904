"""`make gpu` without a GPU: tiny models on the CPU, and no package but torch, transformers and what they need."""

import json
import subprocess
import sys

import pytest

from tests.checkout import ROOT

# What the environment has and a machine with just torch and transformers lacks.
ABSENT = ("accelerate", "datasets", "mido", "numba", "pandas", "pyarrow", "scipy", "sklearn", "snakemake", "soundfile")
RUN = f"""
import sys, runpy
sys.modules.update(dict.fromkeys({ABSENT!r}))
sys.argv = ["gpu", *sys.argv[1:]]
runpy.run_module("tests.gpu", run_name="__main__")
"""

pytestmark = pytest.mark.slow


def call(folder, *arguments):
    command = [sys.executable, "-c", RUN, *arguments]
    return subprocess.run(command, cwd=folder, text=True, capture_output=True, env={"PYTHONPATH": str(ROOT)})


def test_checks_hold_and_are_listed(tmp_path):
    run = call(tmp_path, "checks")
    assert run.returncode == 0, run.stdout + run.stderr
    lines = run.stdout.splitlines()
    assert len(lines) == 17  # what is compiled is checked on a GPU
    assert all(line.startswith("ok  ") for line in lines)


def test_training_and_sampling_fill_the_table(tmp_path):
    for arguments in (["train", "llama-3b", "--steps", "2"], ["generate", "llama-3b", "--samples", "3"]):
        run = call(tmp_path, *arguments, "--tiny", "--batch-size", "2")
        assert run.returncode == 0, run.stderr
    found = json.loads((tmp_path / "results/gpu/train-llama-3b.json").read_text())
    assert found["tokens_per_s"] > 0
    assert "| llama-3b | CPU |" in call(tmp_path, "table").stdout
