"""Trainings that are killed inside a Snakemake run: they end with undisturbed ones' weights, bit for bit."""

import contextlib
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

from libretto.files import file_sha256
from libretto.training import result
from libretto.training.resume import FINISHED, MARK
from libretto.training.variant import train_variant
from tests.checkout import ROOT, jobs_of
from tests.conftest import TEXT, variant_settings

FAMILIES = {"killed-amt": "amt", "killed-llama": "llama"}  # by variant
TRAINING = {"max_steps": 24, "eval_steps": 4}
SOURCE = {"path": str(ROOT / "README.md")}  # training reads no archive and no soundfont; a path that exists

SIGNALS = {"killed-amt": signal.SIGKILL, "killed-llama": signal.SIGTERM}  # what ends each training's first attempt

pytestmark = pytest.mark.slow


@pytest.fixture
def command(splits, amt_folder, llama_folder, tmp_path):
    """The call of Snakemake that trains a variant of each family in `tmp_path`, with a retry."""
    data = tmp_path / "results/kill/data/splits"
    data.mkdir(parents=True)
    for name in ("train", "valid"):
        shutil.copyfile(splits[name], data / f"{name}.parquet")
    variants = {
        name: {**variant_settings(family, **TRAINING), "base": f"tiny-{family}"} for name, family in FAMILIES.items()
    }
    variants["killed-amt"]["text_encoder"] = "tiny-llama"
    models = {"tiny-amt": {"path": amt_folder}, "tiny-llama": {"path": llama_folder}}
    sources = {**dict.fromkeys(("lmd", "midicaps", "soundfont"), SOURCE), "models": models}
    experiment = {"run": "kill", "checkpoint_minutes": 0, "sources": sources, "text": TEXT, "variants": variants}
    experiment |= {"data": {"chunk_tokens": 64}, "sampling": {"max_new_tokens": 63}}  # the splits' own
    (tmp_path / "experiment.json").write_text(json.dumps(experiment))
    files = ["--snakefile", str(ROOT / "Snakefile"), "--configfile", str(ROOT / "config.yaml"), "experiment.json"]
    options = ["--cores", "2", "--set-threads", "train=1", "--allowed-rules", "train"]
    options += ["--retries", "1"]
    targets = [f"results/kill/train/{name}/best.json" for name in FAMILIES]
    return [sys.executable, "-m", "snakemake", *files, *options, "--", *targets]


def has_checkpoint(folder, variant):
    """Whether the training has written a whole checkpoint."""
    return any(folder.glob(f"results/kill/checkpoints/{variant}/*/checkpoint-*/{MARK}"))


def run_and_kill(command, folder):
    """Run Snakemake; send each training its signal, at random after a checkpoint.

    Returns:
        What Snakemake printed, and the settings that each training was called with.
    """
    draws = random.Random(0)
    left, settings = dict(SIGNALS), {}
    output = folder / "output"
    with output.open("w") as stream:
        process = subprocess.Popen(command, cwd=folder, stdout=stream, stderr=subprocess.STDOUT)
        while process.poll() is None:
            for variant in list(left):
                jobs = jobs_of(process, f"checkpoints/{variant} ") if has_checkpoint(folder, variant) else []
                if jobs:  # the shell too, as a scheduler does
                    settings[variant] = json.loads(option(jobs[-1], "--settings"))
                    time.sleep(0.3 * draws.random())
                    number = left.pop(variant)
                    for job in jobs:
                        with contextlib.suppress(psutil.NoSuchProcess):
                            job.send_signal(number)
            time.sleep(0.02)
    assert process.returncode == 0, output.read_text()[-5000:]
    assert not left, "a training ended too early"
    return output.read_text(), settings


def option(job, name):
    words = job.cmdline()
    return words[words.index(name) + 1]


def test_a_killed_training_ends_like_an_undisturbed_one(command, splits, amt_folder, llama_folder, tmp_path):
    printed, settings = run_and_kill(command, tmp_path)
    assert printed.count("its checkpoint is saved") == 1  # SIGTERM's
    files = splits["train"], splits["valid"]
    for variant, family in FAMILIES.items():
        base = amt_folder if family == "amt" else llama_folder
        undisturbed = tmp_path / f"undisturbed-{family}"
        log = train_variant(settings[variant], *files, base, llama_folder, None, undisturbed, 0, False)
        kept = result.best_model(undisturbed)
        assert "checkpoint-24" in {path.name for path in undisturbed.iterdir()}
        models = tmp_path / f"results/kill/train/{variant}/model", kept
        digests = [file_sha256(model / "model.safetensors") for model in models]
        print(f"{variant}: {digests}")
        assert digests[0] == digests[1]
        logs = [pandas.read_parquet(tmp_path / f"results/kill/train/{variant}/log.parquet"), pandas.DataFrame(log)]
        losses = [log.dropna(subset="val_loss").set_index("step")["val_loss"] for log in logs]
        assert losses[0].equals(losses[1])
        assert printed.count(f"resuming from results/kill/checkpoints/{variant}/") == 1
        (training,) = (tmp_path / f"results/kill/checkpoints/{variant}").glob("*/")
        assert [path.name for path in training.iterdir()] == [FINISHED]
