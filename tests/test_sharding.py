"""Trainings by two processes: as one process's, also with states that are spread over them, which resume exactly."""

import json
import os
import subprocess
import sys

import pandas
import pytest
import torch
from safetensors.torch import load_file

from libretto.models.batches import load_split
from libretto.training.result import write_result
from libretto.training.resume import FINISHED
from libretto.training.variant import train_variant
from tests.checkout import ROOT
from tests.conftest import TEXT, variant_settings
from tests.sharded import RATES, SETTINGS, WHOLE
from tests.test_training import run, without_dropout

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("sharding")]  # so that one worker trains


@pytest.fixture(scope="module")
def amt_folder(amt_folder, tmp_path_factory):
    """Dropout draws differ between processes: none here."""
    return without_dropout(amt_folder, tmp_path_factory.mktemp("amt"))


@pytest.fixture(scope="module")
def sharded(splits, amt_folder, llama_folder, tmp_path_factory):
    """The folder of the trainings by two processes."""
    folder = tmp_path_factory.mktemp("sharded")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
    files = [folder, amt_folder, llama_folder, splits["train"], splits["valid"]]
    paths = {"PYTHONPATH": os.pathsep.join([str(ROOT / "workflow"), str(ROOT)])}
    environment = {**os.environ, **paths, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    subprocess.run([*launcher, "tests.sharded", *map(str, files)], cwd=ROOT, env=environment, check=True)
    return folder


def test_two_processes_train_as_one_does(family, sharded, splits, amt_folder, llama_folder, tmp_path):
    settings = {"variant": variant_settings(family, **WHOLE), "text": TEXT, "seed": 0}
    base = amt_folder if family == "amt" else llama_folder
    log = train_variant(settings, splits["train"], splits["valid"], base, llama_folder, None, tmp_path, 0, False)
    write_result(tmp_path, log, with_model=False)
    files = tmp_path / FINISHED / "log.parquet", sharded / family / "log.parquet"
    logs = [
        pandas.read_parquet(file).set_index("step")[["loss", "grad_norm", "val_loss", "val_loss_music"]]
        for file in files
    ]
    difference = (logs[0] - logs[1]).abs().max().max()
    print(f"{family}: largest difference of a loss between 1 and 2 processes: {difference:.1e}")
    assert difference < 1e-4
    assert (logs[0].isna() == logs[1].isna()).all(axis=None)


def test_a_process_holds_half_of_the_model(sharded):
    shares = json.loads((sharded / "shares.json").read_text())
    assert set(shares) == {"amt", "llama"}
    assert all(0.49 < share < 0.52 for share in shares.values()), shares


def test_spread_over_two_processes_a_model_learns_as_on_one(family, sharded, make_tiny, splits, tmp_path):
    songs = {name: load_split(splits[name], str(tmp_path / "cache")) for name in ("train", "valid")}
    settings = variant_settings(family, **SETTINGS, **(RATES if family == "amt" else {}))["training"]
    log = run(make_tiny(family), songs, settings, tmp_path / "one")
    state = json.loads((sharded / family / "undisturbed/checkpoint-6/trainer_state.json").read_text())
    losses = {entry["step"]: entry["eval_loss"] for entry in state["log_history"] if "eval_loss" in entry}
    expected = {row["step"]: row["val_loss"] for row in log if row["val_loss"] is not None}
    assert losses == pytest.approx(expected, abs=1e-4)

    folders = tmp_path / "one", sharded / family / "undisturbed"
    (one,), (two,) = (folder.glob("best-6-*") for folder in folders)
    assert (one / "config.json").read_text() == (two / "config.json").read_text()
    one, two = (load_file(folder / "model.safetensors") for folder in (one, two))
    assert one.keys() == two.keys()
    difference = max((one[name] - two[name]).abs().max().item() for name in one)
    print(f"{family}: largest difference of a weight: {difference:.1e}")
    assert difference < 1e-3


def test_a_killed_training_ends_like_an_undisturbed_one(family, sharded):
    undisturbed, killed = (
        load_file(sharded / family / name / "checkpoint-6/model.safetensors") for name in ("undisturbed", "killed")
    )
    assert undisturbed.keys() == killed.keys()
    assert all(torch.equal(undisturbed[name], killed[name]) for name in killed)
