"""Training: the order of the data, batches, the best model, and resuming as if nothing had happened."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas
import pytest
import torch

from libretto import training
from libretto.checkpoints import FINISHED, MARK, link_tree, newest_complete, remove, training_hash
from libretto.chunks import MiddleChunks, TrainingChunks, load_split
from libretto.errors import InputError
from tests.conftest import TEXT, variant_settings

ROOT = Path(__file__).parents[1]


@pytest.fixture
def songs(splits, tmp_path):
    return {name: load_split(splits[name], str(tmp_path / "cache")) for name in ("train", "valid")}


def run(variant, songs, settings, folder, seed=0, **options):
    n_items = settings["max_steps"] * settings["batch_size"]
    train_set = TrainingChunks(songs["train"], n_items, variant.prompter, 0.5, seed)
    valid_set = MiddleChunks(songs["valid"], variant.prompter)
    return training.train(variant, train_set, valid_set, settings, seed, folder, **options)


def weights(variant):
    return {name: value.clone() for name, value in variant.model.state_dict().items()}


class Interrupted(Exception):
    """Stands for a kill."""


class Kill(training.TrainerCallback):
    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            raise Interrupted


def test_an_interrupted_training_ends_like_an_undisturbed_one(make_tiny, family, songs, tmp_path, monkeypatch):
    settings = variant_settings(family)["training"]
    undisturbed = make_tiny(family)
    log = run(undisturbed, songs, settings, tmp_path / "undisturbed")

    folder = tmp_path / "killed"
    with monkeypatch.context() as patch:
        for step in (1, 3, 6):  # before the first checkpoint, after it, at the very end
            patch.setattr(training, "StopOnTerminate", lambda step=step: Kill(step))
            with pytest.raises(Interrupted):
                run(make_tiny(family), songs, settings, folder)
    assert newest_complete(folder, 1).name == "checkpoint-4"
    resumed = make_tiny(family)
    log_resumed = run(resumed, songs, settings, folder)

    expected = weights(undisturbed)
    assert all(torch.equal(value, expected[name]) for name, value in weights(resumed).items())
    columns = ["step", "epoch", "loss", "val_loss", "val_loss_music", "lr"]
    for row, row_resumed in zip(log, log_resumed, strict=True):
        assert {c: row_resumed[c] for c in columns if c != "loss"} == {c: row[c] for c in columns if c != "loss"}


def test_the_log_falls_and_the_best_model_is_kept(make_tiny, family, songs, tmp_path):
    settings = {**variant_settings(family)["training"], "max_steps": 8, "learning_rate": 2e-2}
    variant = make_tiny(family)
    log = run(variant, songs, settings, tmp_path)
    assert [row["step"] for row in log] == [0, 2, 4, 6, 8]
    losses = [row["val_loss"] for row in log]
    assert losses[-1] < losses[0] - 0.5
    assert log[-1]["epoch"] == pytest.approx(8 * 4 / 12)
    assert log[-1]["loss"] > 0
    assert log[-1]["tokens_per_s"] > 0
    assert log[-1]["memory_gb"] > 0
    best = training.best_model(tmp_path)
    scores = training.read_scores(best)
    assert scores["val_loss"] == min(losses)
    assert scores["step"] == log[losses.index(min(losses))]["step"]
    assert len(list(tmp_path.glob("best-*"))) == 1
    assert len(list(tmp_path.glob("checkpoint-*"))) == 2
    assert scores["step"] == 8
    kept = type(variant.model).from_pretrained(best).state_dict()
    assert all(torch.equal(kept[name], value) for name, value in weights(variant).items())


@pytest.mark.parametrize("changed", [{"gradient_checkpointing": True}, {"precision": "bf16"}], ids=str)
def test_what_changes_speed_and_memory_changes_no_loss(changed, make_tiny, family, songs, tmp_path):
    losses = []
    for name, more in (("plain", {}), ("changed", changed)):
        variant = make_tiny(family)
        log = run(variant, songs, {**variant_settings(family)["training"], **more}, tmp_path / name)
        losses.append([row["val_loss"] for row in log])
        assert {value.dtype for value in weights(variant).values()} == {torch.float32}
    assert losses[1] == pytest.approx(losses[0], rel=0.005 if "precision" in changed else 1e-6)


def test_a_loss_that_is_no_number_ends_a_search_and_fails_a_training(make_tiny, songs, tmp_path, monkeypatch):
    settings = {**variant_settings("llama")["training"], "learning_rate": 1e30, "max_steps": 10}
    with pytest.raises(FloatingPointError):
        run(make_tiny("llama"), songs, settings, tmp_path / "training")
    log = run(make_tiny("llama"), songs, settings, tmp_path / "search", may_diverge=True)
    assert training.read_scores(training.best_model(tmp_path / "search"))["val_loss"] == log[0]["val_loss"]


def test_only_a_better_model_replaces_the_best(make_tiny, tmp_path):
    model = make_tiny("amt").model
    for step, loss in enumerate([3.0, 2.0, 2.0, 2.5]):
        training.keep_if_best(model, tmp_path, {"step": step, "val_loss": loss})
    assert [path.name for path in tmp_path.iterdir()] == ["best-1-2.0"]


def test_a_step_that_is_evaluated_again_may_be_better(make_tiny, tmp_path):
    """As after a resume, on hardware whose sums differ from time to time."""
    model = make_tiny("amt").model
    training.keep_if_best(model, tmp_path, {"step": 2, "val_loss": 2.0})
    with torch.no_grad():
        model.lm_head.weight.add_(1)
    training.keep_if_best(model, tmp_path, {"step": 2, "val_loss": 1.9})
    (best,) = tmp_path.iterdir()
    assert training.read_scores(best) == {"step": 2, "val_loss": 1.9}
    assert torch.equal(type(model).from_pretrained(best).lm_head.weight, model.lm_head.weight)


def test_a_former_best_whose_removal_was_cut_off_is_passed_over(make_tiny, tmp_path):
    model = make_tiny("amt").model
    training.keep_if_best(model, tmp_path, {"step": 1, "val_loss": 2.0})
    (tmp_path / "best-0-3.0").mkdir()
    assert training.best_model(tmp_path).name == "best-1-2.0"


def test_accumulated_micro_batches_are_one_batch(make_tiny, family, songs, tmp_path):
    """Whatever the micro-batch, and though micro-batches differ in their numbers of tokens."""
    losses = []
    for micro in (1, 4):
        settings = {**variant_settings(family)["training"], "micro_batch_size": micro, "max_steps": 3}
        variant = make_tiny(family)
        for module in variant.model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        log = run(variant, songs, settings, tmp_path / str(micro))
        losses.append([row["val_loss"] for row in log] + [log[-1]["loss"], log[-1]["grad_norm"]])
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


def test_a_batch_that_cannot_be_divided_is_an_input_error(tmp_path):
    settings = variant_settings("amt")["training"]
    arguments = training.training_arguments(settings, 0, tmp_path, 2)
    assert arguments.gradient_accumulation_steps == 1
    with pytest.raises(InputError, match="batch_size 4 is no multiple of 3 processes"):
        training.training_arguments(settings, 0, tmp_path, 3)


@pytest.mark.parametrize(("most", "world", "micro"), [(8, 1, 8), (3, 1, 2), (8, 4, 4), (16, 16, 1), (100, 1, 16)])
def test_the_batch_is_the_configured_one_on_any_number_of_gpus(most, world, micro, tmp_path):
    settings = {**variant_settings("amt")["training"], "batch_size": 16, "micro_batch_size": most}
    arguments = training.training_arguments(settings, 0, tmp_path, world)
    assert arguments.per_device_train_batch_size == micro
    assert micro * world * arguments.gradient_accumulation_steps == 16


def test_new_parameters_may_have_rates_of_their_own(make_tiny, songs, tmp_path):
    variant = make_tiny("amt")
    settings = {
        **variant_settings("amt")["training"],
        "projection_learning_rate": 0.5,
        "layer_weights_learning_rate": 0.25,
    }
    arguments = training.training_arguments(settings, 0, tmp_path, 1)
    groups = training.MusicTrainer(variant, settings, args=arguments, eval_dataset=songs["valid"]).create_optimizer()
    rates = {id(p): group["lr"] for group in groups.param_groups for p in group["params"]}
    prefix = variant.model.text_prefix
    assert rates.pop(id(prefix.projection.weight)) == 0.5
    assert rates.pop(id(prefix.layer_weights)) == 0.25
    assert set(rates.values()) == {1e-3}
    assert len(rates) == len(list(variant.model.parameters())) - 2
    assert [group["weight_decay"] for group in groups.param_groups] == [0.0, 0.0, 0.0]  # torch's default is 0.01


def complete_checkpoint(folder, step):
    path = folder / f"checkpoint-{step}"
    path.mkdir()
    for name in ("model.safetensors", "optimizer.pt", "scheduler.pt", "trainer_state.json", "rng_state.pth", MARK):
        (path / name).touch()
    return path


def test_the_newest_whole_checkpoint_is_resumed_from(tmp_path):
    assert newest_complete(tmp_path, 1) is None
    complete_checkpoint(tmp_path, 90)
    newest = complete_checkpoint(tmp_path, 100)
    cut_off = complete_checkpoint(tmp_path, 110)
    (cut_off / MARK).unlink()
    assert newest_complete(tmp_path, 1) == newest


def test_a_cut_off_checkpoint_does_not_push_out_a_whole_one(make_tiny, songs, tmp_path, monkeypatch):
    """Of the two that are kept, one would be a cut-off one, the other one not marked yet."""
    settings = {**variant_settings("amt")["training"], "max_steps": 4, "eval_steps": 1}
    with monkeypatch.context() as patch:
        patch.setattr(training, "StopOnTerminate", lambda: Kill(3))
        with pytest.raises(Interrupted):
            run(make_tiny("amt"), songs, settings, tmp_path)
    (tmp_path / "checkpoint-3").mkdir()
    (tmp_path / "checkpoint-1" / MARK).unlink()
    with monkeypatch.context() as patch:
        patch.setattr(training, "StopOnTerminate", lambda: Kill(3))
        with pytest.raises(Interrupted):
            run(make_tiny("amt"), songs, settings, tmp_path)
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == ["checkpoint-2"]


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth"])
def test_a_lost_file_is_an_error_and_no_fresh_start(tmp_path, name):
    (complete_checkpoint(tmp_path, 100) / name).unlink()
    with pytest.raises(InputError, match=name):
        newest_complete(tmp_path, 1)


def test_the_hash_follows_settings_and_contents(tmp_path):
    file, folder = tmp_path / "split", tmp_path / "base"
    file.write_text("a")
    folder.mkdir()
    (folder / "weights").write_text("b")
    first = training_hash({"rate": 1}, [file, folder])
    assert training_hash({"rate": 1}, [str(file), str(folder)]) == first
    assert training_hash({"rate": 2}, [file, folder]) != first
    (folder / "weights").write_text("c")
    assert training_hash({"rate": 1}, [file, folder]) != first


def test_files_are_linked_or_copied(tmp_path, monkeypatch):
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "inner").mkdir(parents=True)
    (source / "inner" / "weights").write_text("a")
    link_tree(source, target)
    assert (target / "inner" / "weights").samefile(source / "inner" / "weights")

    def refuse(source, target):
        raise OSError("no links on this file system")

    monkeypatch.setattr(os, "link", refuse)
    link_tree(source, target)
    assert (target / "inner" / "weights").read_text() == "a"
    assert not (target / "inner" / "weights").samefile(source / "inner" / "weights")


def test_what_cannot_be_removed_is_no_error(tmp_path, monkeypatch, caplog):
    (tmp_path / "folder").mkdir()
    monkeypatch.setattr(os, "rmdir", lambda *args, **kwargs: (_ for _ in ()).throw(OSError("not empty")))
    remove(tmp_path / "folder")
    assert "not empty" in caplog.text


# ---- As the rule starts it ----


def command(family, folder, splits, amt_folder, llama_folder, launcher=(sys.executable,), **settings):
    config = {"variant": variant_settings(family, **settings), "text": TEXT, "seed": 0}
    files = {
        "train": splits["train"],
        "valid": splits["valid"],
        "base": amt_folder if family == "amt" else llama_folder,
        "text-model": llama_folder,
        "checkpoints": folder / "checkpoints",
        "model": folder / "model",
        "tensorboard": folder / "tensorboard",
        "best": folder / "best.json",
        "history": folder / "log.parquet",
        "log-file": folder / "train.log",
    }
    options = [text for name, path in files.items() for text in (f"--{name}", str(path))]
    script = str(ROOT / "workflow" / "scripts" / "train.py")
    return [*launcher, script, "--settings", json.dumps(config), "--code", "tested", *options]


def start(arguments):
    path = os.pathsep.join([str(ROOT / "workflow"), os.environ.get("PYTHONPATH", "")])
    environment = {
        **os.environ,
        "PYTHONPATH": path,
        "PYTHONSAFEPATH": "1",
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
    }
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(arguments, env=environment, start_new_session=True, **quiet)


def files(folder):
    """What the rule declares as outputs, file by file."""
    trees = [path for name in ("model", "tensorboard") for path in sorted((folder / name).rglob("*"))]
    return [path for path in [*trees, folder / "best.json", folder / "log.parquet"] if path.is_file()]


@pytest.mark.slow
def test_a_finished_training_is_not_done_again(splits, amt_folder, llama_folder, tmp_path):
    """It is asked for again when an input was written anew with the same content, or an output was lost."""
    arguments = command("amt", tmp_path, splits, amt_folder, llama_folder, max_steps=2)
    assert start(arguments).wait() == 0
    assert (tmp_path / "model" / "model.safetensors").stat().st_nlink == 2  # no space taken twice
    first = {path: path.read_bytes() for path in files(tmp_path)}
    for path in first:
        path.unlink()
    (tmp_path / "checkpoints" / "of-other-settings" / "checkpoint-1").mkdir(parents=True)

    copy = tmp_path / "train.parquet"
    shutil.copyfile(splits["train"], copy)
    assert start([str(copy) if argument == splits["train"] else argument for argument in arguments]).wait() == 0
    assert {path: path.read_bytes() for path in files(tmp_path)} == first
    assert "its result is taken from" in (tmp_path / "train.log").read_text().splitlines()[-1]
    (folder,) = (tmp_path / "checkpoints").iterdir()
    assert [path.name for path in folder.iterdir()] == [FINISHED]


@pytest.mark.slow
def test_two_processes_train_as_one_does(family, splits, amt_folder, llama_folder, tmp_path):
    logs = []
    for n in (1, 2):
        folder = tmp_path / str(n)
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(n)]
        # Dropout draws differ between processes: none here.
        base = without_dropout(amt_folder, tmp_path / f"amt-{n}")
        options = (splits, base, llama_folder, launcher)
        settings = {"max_steps": 12, "eval_steps": 4, "micro_batch_size": 2, "batch_size": 4}
        assert start(command(family, folder, *options, **settings)).wait() == 0
        logs.append(
            pandas.read_parquet(folder / "log.parquet").set_index("step")[
                ["loss", "grad_norm", "val_loss", "val_loss_music"]
            ]
        )
    difference = (logs[0] - logs[1]).abs().max().max()
    print(f"{family}: largest difference of a loss between 1 and 2 processes: {difference:.1e}")
    assert difference < 1e-4
    assert (logs[0].isna() == logs[1].isna()).all(axis=None)


def without_dropout(folder, copy):
    from transformers import GPT2LMHeadModel

    model = GPT2LMHeadModel.from_pretrained(folder)
    model.config.resid_pdrop = model.config.embd_pdrop = model.config.attn_pdrop = 0.0
    model.save_pretrained(copy)
    return str(copy)
