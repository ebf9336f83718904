"""Trainings that are killed inside a Snakemake run: they end with the same weights, bit for bit."""

import contextlib
import hashlib
import json
import random
import shutil
import signal
import subprocess
import sys
import time

import pandas
import psutil
import pytest

from libretto.training.resume import FINISHED, MARK
from tests.checkout import ROOT, jobs_of
from tests.conftest import TEXT, variant_settings

FAMILIES = {"killed-amt": "amt", "killed-llama": "llama"}  # by variant
TRAINING = {"max_steps": 24, "eval_steps": 4}
SOURCE = {"path": str(ROOT / "README.md")}  # training reads no archive and no soundfont; a path that exists

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("resume")]


@pytest.fixture
def call(splits, amt_folder, llama_folder):
    """A function that prepares a folder and gives the call of Snakemake that trains a variant of each family there."""

    def prepare(folder):
        data = folder / "results/kill/data/splits"
        data.mkdir(parents=True)
        for name in ("train", "valid"):
            shutil.copyfile(splits[name], data / f"{name}.parquet")
        variants = {
            name: {**variant_settings(family, **TRAINING), "base": f"tiny-{family}"}
            for name, family in FAMILIES.items()
        }
        variants["killed-amt"]["text_encoder"] = "tiny-llama"
        models = {"tiny-amt": {"path": amt_folder}, "tiny-llama": {"path": llama_folder}}
        sources = {**dict.fromkeys(("lmd", "midicaps", "soundfont"), SOURCE), "models": models}
        experiment = {"run": "kill", "checkpoint_minutes": 0, "sources": sources, "text": TEXT, "variants": variants}
        experiment |= {"data": {"chunk_tokens": 64}, "sampling": {"max_new_tokens": 63}}  # the splits' own
        (folder / "experiment.json").write_text(json.dumps(experiment))
        files = ["--snakefile", str(ROOT / "Snakefile"), "--configfile", str(ROOT / "config.yaml"), "experiment.json"]
        options = ["--cores", "2", "--set-threads", "train=1", "--allowed-rules", "train"]
        options += ["--retries", "1"]
        targets = [f"results/kill/train/{name}/best.json" for name in FAMILIES]
        return [sys.executable, "-m", "snakemake", *files, *options, "--", *targets]

    return prepare


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return tmp_path_factory.mktemp("undisturbed")


def has_checkpoint(folder, variant):
    return any(folder.glob(f"results/kill/checkpoints/{variant}/*/checkpoint-*/{MARK}"))


def run_and_kill(command, folder, number=None):
    """Run Snakemake; send `number` to each training once, at random after its first checkpoint."""
    draws = random.Random(number)
    left = set(FAMILIES) if number else set()
    output = folder / "output"
    with output.open("w") as stream:
        process = subprocess.Popen(command, cwd=folder, stdout=stream, stderr=subprocess.STDOUT)
        while process.poll() is None:
            for variant in sorted(left):
                jobs = jobs_of(process, f"checkpoints/{variant} ")  # the shell too, as a scheduler does
                if has_checkpoint(folder, variant) and jobs:
                    time.sleep(0.3 * draws.random())
                    left.remove(variant)
                    for job in jobs:
                        with contextlib.suppress(psutil.NoSuchProcess):
                            job.send_signal(number)
            time.sleep(0.02)
    assert process.returncode == 0, output.read_text()[-5000:]
    assert not left, "the trainings ended too early"
    return output.read_text()


def digests(folder):
    return {
        variant: hashlib.sha256(
            (folder / f"results/kill/train/{variant}/model/model.safetensors").read_bytes()
        ).hexdigest()
        for variant in FAMILIES
    }


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=lambda number: number.name)
def test_a_killed_training_ends_like_an_undisturbed_one(number, call, undisturbed, tmp_path):
    if not any(undisturbed.iterdir()):
        run_and_kill(call(undisturbed), undisturbed)
    printed = run_and_kill(call(tmp_path), tmp_path, number)
    assert printed.count("its checkpoint is saved") == (len(FAMILIES) if number == signal.SIGTERM else 0)
    assert digests(tmp_path) == digests(undisturbed)
    print(f"{number.name}: {digests(tmp_path)}")
    for variant in FAMILIES:
        logs = [
            pandas.read_parquet(folder / f"results/kill/train/{variant}/log.parquet")
            for folder in (undisturbed, tmp_path)
        ]
        losses = [log.dropna(subset="val_loss").set_index("step")["val_loss"] for log in logs]
        assert losses[0].equals(losses[1])
        assert printed.count(f"resuming from results/kill/checkpoints/{variant}/") == 1
        (training,) = (tmp_path / f"results/kill/checkpoints/{variant}").glob("*/")
        assert [path.name for path in training.iterdir()] == [FINISHED]
