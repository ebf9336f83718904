"""`make gpu` without a GPU: tiny models on the CPU, and no package but torch, transformers and what they need."""

import json
import subprocess
import sys

import pytest

from tests.checkout import ROOT

# What the environment has and a machine with just torch and transformers lacks.
ABSENT = ("accelerate", "datasets", "mido", "numba", "pandas", "pyarrow", "scipy", "sklearn", "snakemake", "soundfile")
# One process for all that `make gpu` calls: to import torch and transformers takes longer than the work.
CALLS = [
    ["checks"],
    ["train", "llama-3b", "--steps", "2", "--tiny", "--batch-size", "2"],
    ["generate", "llama-3b", "--samples", "3", "--tiny", "--batch-size", "2"],
    ["table"],
]
RUN = f"""
import sys, runpy
sys.modules.update(dict.fromkeys({ABSENT!r}))
for number, arguments in enumerate({CALLS!r}):
    sys.argv = ["gpu", *arguments]
    with open(f"printed-{{number}}", "w") as sys.stdout:
        runpy.run_module("tests.gpu", run_name="__main__")
"""

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("gpu")]


@pytest.fixture(scope="module")
def called(tmp_path_factory):
    """The folder where `tests.gpu` was called, and what each of `CALLS` printed."""
    folder = tmp_path_factory.mktemp("gpu")
    environment = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    run = subprocess.run([sys.executable, "-c", RUN], cwd=folder, text=True, capture_output=True, env=environment)
    printed = [path.read_text() for path in sorted(folder.glob("printed-*"))]
    assert run.returncode == 0, "".join(printed) + run.stderr
    return folder, printed


def test_checks_hold_and_are_listed(called):
    _, (checks, *_) = called
    lines = checks.splitlines()
    assert len(lines) == 17  # what is compiled is checked on a GPU
    assert all(line.startswith("ok  ") for line in lines)


def test_training_and_sampling_fill_the_table(called):
    folder, (*_, table) = called
    found = json.loads((folder / "results/gpu/train-llama-3b.json").read_text())
    assert found["tokens_per_s"] > 0
    assert "| llama-3b | CPU |" in table
