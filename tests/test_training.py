"""Training: the order of the data, batches, the best model, and resuming as if nothing had happened."""

import errno
import fcntl
import json
import os
import random
import runpy
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from libretto import lock
from libretto.errors import InputError
from libretto.files import inputs_hash, remove
from libretto.lock import LOCK, locked
from libretto.models.adapter import add_adapter, freeze_base
from libretto.models.attention import CAUSAL
from libretto.models.batches import MiddleChunks, TrainingChunks, load_split
from libretto.models.variants import trained_model
from libretto.preflight.models import RandomSongs
from libretto.training import result, trainer
from libretto.training import variant as finetuning
from libretto.training.compilation import compile_parts
from libretto.training.resume import (
    FINISHED,
    MARK,
    find_damage,
    link_tree,
    mark_complete,
    newest_complete,
    remove_all_but_finished,
    remove_damaged,
)
from libretto.training.variant import train_variant
from tests.conftest import TEXT, variant_settings

ROOT = Path(__file__).parents[1]


@pytest.fixture
def songs(splits, tmp_path):
    return {name: load_split(splits[name], str(tmp_path / "cache")) for name in ("train", "valid")}


def run(variant, songs, settings, folder, seed=0, checkpoint_minutes=0, **options):
    n_items = settings["max_steps"] * settings["batch_size"]
    train_set = TrainingChunks(songs["train"], n_items, variant.prompter, 0.5, seed)
    valid_set = MiddleChunks(songs["valid"], variant.prompter)
    return finetuning.train(variant, train_set, valid_set, settings, seed, folder, checkpoint_minutes, **options)


def weights(variant):
    return {name: value.clone() for name, value in variant.model.state_dict().items()}


class Interrupted(Exception):
    """Stands for a kill."""


class Kill(trainer.TrainerCallback):
    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            raise Interrupted


class Clock(trainer.TrainerCallback):
    def __init__(self, now, minutes):
        self.now, self.minutes = now, minutes

    def on_step_begin(self, *args, **kwargs):
        self.now[0] += 60 * self.minutes


def run_until_killed(monkeypatch, step, *arguments):
    """`run`, but killed at the end of a step."""
    with monkeypatch.context() as patch:
        patch.setattr(finetuning, "StopOnTerminate", lambda: Kill(step))
        with pytest.raises(Interrupted):
            run(*arguments)


@pytest.mark.slow
def test_an_interrupted_training_ends_like_an_undisturbed_one(make_tiny, family, songs, tmp_path, monkeypatch):
    settings = variant_settings(family)["training"]
    undisturbed = make_tiny(family)
    log = run(undisturbed, songs, settings, tmp_path / "undisturbed")

    folder = tmp_path / "killed"
    for step in (1, 3, 6):  # before the first checkpoint, after it, at the very end
        run_until_killed(monkeypatch, step, make_tiny(family), songs, settings, folder)
    assert newest_complete(folder, 1).name == "checkpoint-4"
    resumed = make_tiny(family)
    log_resumed = run(resumed, songs, settings, folder)

    expected = weights(undisturbed)
    assert all(torch.equal(value, expected[name]) for name, value in weights(resumed).items())
    columns = ["step", "epoch", "loss", "val_loss", "val_loss_music", "lr"]
    for row, row_resumed in zip(log, log_resumed, strict=True):
        assert {c: row_resumed[c] for c in columns if c != "loss"} == {c: row[c] for c in columns if c != "loss"}


def test_checkpoints_follow_the_clock_and_share_the_best_models_weights(make_tiny, songs, tmp_path, monkeypatch):
    settings = {**variant_settings("llama")["training"], "max_steps": 8, "learning_rate": 2e-2}
    now = [0.0]
    monkeypatch.setattr(trainer.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(finetuning, "StopOnTerminate", lambda: Clock(now, 20))  # a step takes 20 minutes
    run(make_tiny("llama"), songs, settings, tmp_path, checkpoint_minutes=60)
    # Validations are at 2, 4, 6 and 8; an hour has passed at 4 and, 80 minutes later, at 8.
    assert {path.name for path in tmp_path.glob("checkpoint-*")} == {"checkpoint-4", "checkpoint-8"}
    (best,) = tmp_path.glob("best-8-*")
    assert (tmp_path / "checkpoint-8/model.safetensors").samefile(best / "model.safetensors")
    assert not (tmp_path / "checkpoint-8/scores.json").exists()
    assert (best / "scores.json").exists()


def test_a_best_model_that_shares_a_damaged_checkpoints_weights_is_removed(tmp_path):
    """The resumed training reaches the step again, and keeps it again."""
    complete_checkpoint(tmp_path, 2)
    damaged = complete_checkpoint(tmp_path, 4)
    for name, source in (("best-4-1.5", damaged), ("best-9-1.0", None)):
        (tmp_path / name).mkdir()
        if source:
            os.link(source / "model.safetensors", tmp_path / name / "model.safetensors")
        else:
            (tmp_path / name / "model.safetensors").write_bytes(b"of its own")
    overwrite(damaged / "model.safetensors", 0, b"damaged")
    remove_damaged(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best-9-1.0", "checkpoint-2"]


def test_a_checkpoint_does_not_take_the_weights_of_an_earlier_attempt(make_tiny, songs, tmp_path):
    """On a GPU, a resumed training need not reach the same weights at the same step."""
    earlier = tmp_path / "best-4-0.0"
    earlier.mkdir()
    (earlier / "scores.json").write_text(json.dumps({"step": 4, "val_loss": 0.0}))
    (earlier / "model.safetensors").write_bytes(b"of an earlier attempt")
    settings = {**variant_settings("llama")["training"], "max_steps": 4}
    variant = make_tiny("llama")
    run(variant, songs, settings, tmp_path)
    written = type(variant.model).from_pretrained(tmp_path / "checkpoint-4").state_dict()
    assert all(torch.equal(written[name], value) for name, value in weights(variant).items())


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
    best = result.best_model(tmp_path)
    scores = result.read_scores(best)
    assert scores["val_loss"] == min(losses)
    assert scores["step"] == log[losses.index(min(losses))]["step"]
    assert len(list(tmp_path.glob("best-*"))) == 1
    assert len(list(tmp_path.glob("checkpoint-*"))) == 2
    assert scores["step"] == 8
    kept = type(variant.model).from_pretrained(best).state_dict()
    assert all(torch.equal(kept[name], value) for name, value in weights(variant).items())


def test_one_graph_serves_all_blocks_and_all_lengths(make_tiny, family, monkeypatch):
    """Compiled as on a GPU, but without writing kernels, so that the results are equal."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    monkeypatch.setenv("CC", "/nowhere")
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    plain, compiled = make_tiny(family), make_tiny(family)
    compile_parts(compiled.model)
    for n_prompt in (6, 9, 7):  # no length is that of a state, 16: torch would take the two for one
        songs = RandomSongs(2, 12, n_prompt)
        for variant in (plain, compiled):
            variant.model(**variant.encode(variant.collate([songs[0], songs[1]]))).loss.backward()
    for ours, expected in zip(compiled.model.parameters(), plain.model.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, expected.grad)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 2  # of the blocks, and of the loss


def test_compiling_needs_a_c_compiler(make_tiny, monkeypatch):
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(InputError, match=r"needs a C compiler \(gcc\) on the node that trains: .* compile: false"):
        compile_parts(make_tiny("llama").model)
    monkeypatch.setenv("CC", "/nowhere")
    monkeypatch.setattr("sysconfig.get_path", lambda name: "/nowhere")
    with pytest.raises(InputError, match=r"needs /nowhere/Python\.h \(Debian: python3-dev\)"):
        compile_parts(make_tiny("llama").model)


@pytest.mark.slow
@pytest.mark.parametrize("changed", [{"gradient_checkpointing": True}, {"precision": "bf16"}], ids=str)
def test_what_changes_speed_and_memory_changes_no_loss(changed, make_tiny, family, songs, tmp_path):
    losses = []
    for name, more in (("plain", {}), ("changed", changed)):
        variant = make_tiny(family)
        log = run(variant, songs, {**variant_settings(family)["training"], **more}, tmp_path / name)
        losses.append([row["val_loss"] for row in log])
        assert {value.dtype for value in weights(variant).values()} == {torch.float32}
    assert losses[1] == pytest.approx(losses[0], rel=0.005 if "precision" in changed else 1e-6)


@pytest.mark.slow
def test_a_loss_that_is_no_number_ends_a_search_and_fails_a_training(make_tiny, songs, tmp_path, monkeypatch):
    settings = {**variant_settings("llama")["training"], "learning_rate": 1e30, "max_steps": 10}
    with pytest.raises(FloatingPointError):
        run(make_tiny("llama"), songs, settings, tmp_path / "training")
    log = run(make_tiny("llama"), songs, settings, tmp_path / "search", may_diverge=True)
    assert result.read_scores(result.best_model(tmp_path / "search"))["val_loss"] == log[0]["val_loss"]


def test_only_a_better_model_replaces_the_best(make_tiny, tmp_path):
    model = make_tiny("amt").model
    for step, loss in enumerate([3.0, 2.0, 2.0, 2.5]):
        if result.is_better(tmp_path, scores := {"step": step, "val_loss": loss}):
            result.keep(model, tmp_path, scores)
    assert [path.name for path in tmp_path.iterdir()] == ["best-1-2.0"]


def test_a_step_that_is_evaluated_again_may_be_better(make_tiny, tmp_path):
    """As after a resume, on hardware whose sums differ from time to time."""
    model = make_tiny("amt").model
    result.keep(model, tmp_path, {"step": 2, "val_loss": 2.0})
    with torch.no_grad():
        model.lm_head.weight.add_(1)
    result.keep(model, tmp_path, {"step": 2, "val_loss": 1.9})
    (best,) = tmp_path.iterdir()
    assert result.read_scores(best) == {"step": 2, "val_loss": 1.9}
    assert torch.equal(type(model).from_pretrained(best).lm_head.weight, model.lm_head.weight)


def test_a_previous_best_whose_removal_was_cut_off_is_passed_over(make_tiny, tmp_path):
    model = make_tiny("amt").model
    result.keep(model, tmp_path, {"step": 1, "val_loss": 2.0})
    (tmp_path / "best-0-3.0").mkdir()
    assert result.best_model(tmp_path).name == "best-1-2.0"


@pytest.mark.slow
def test_accumulated_micro_batches_are_one_batch(make_tiny, family, songs, tmp_path):
    """Whatever the micro-batch, even if micro-batches differ in their numbers of tokens."""
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
    arguments = finetuning.training_arguments(settings, 0, tmp_path, 2)
    assert arguments.gradient_accumulation_steps == 1
    with pytest.raises(InputError, match="batch_size 4 is not a multiple of 3 processes"):
        finetuning.training_arguments(settings, 0, tmp_path, 3)


@pytest.mark.parametrize(("most", "world", "micro"), [(8, 1, 8), (3, 1, 2), (8, 4, 4), (16, 16, 1), (100, 1, 16)])
def test_the_batch_is_the_configured_one_on_any_number_of_gpus(most, world, micro, tmp_path):
    settings = {**variant_settings("amt")["training"], "batch_size": 16, "micro_batch_size": most}
    arguments = finetuning.training_arguments(settings, 0, tmp_path, world)
    assert arguments.per_device_train_batch_size == micro
    assert micro * world * arguments.gradient_accumulation_steps == 16


def test_new_parameters_may_have_rates_of_their_own(make_tiny, songs, tmp_path):
    variant = make_tiny("amt")
    settings = {
        **variant_settings("amt")["training"],
        "projection_learning_rate": 0.5,
        "layer_weights_learning_rate": 0.25,
    }
    arguments = finetuning.training_arguments(settings, 0, tmp_path, 1)
    groups = trainer.MusicTrainer(variant, settings, args=arguments, eval_dataset=songs["valid"]).create_optimizer()
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
    for name in ("model.safetensors", "optimizer.pt", "scheduler.pt", "trainer_state.json", "rng_state.pth"):
        (path / name).write_bytes(random.Random(f"{step} {name}").randbytes(1000))
    mark_complete(path)
    return path


def test_the_newest_whole_checkpoint_is_resumed_from(tmp_path):
    remove_damaged(tmp_path)
    assert newest_complete(tmp_path, 1) is None
    complete_checkpoint(tmp_path, 90)
    newest = complete_checkpoint(tmp_path, 100)
    cut_off = complete_checkpoint(tmp_path, 110)
    (cut_off / MARK).unlink()
    assert newest_complete(tmp_path, 1) == newest
    remove_damaged(tmp_path)
    assert newest_complete(tmp_path, 1) == newest
    assert not cut_off.exists()


def test_a_cut_off_checkpoint_does_not_push_out_a_whole_one(make_tiny, songs, tmp_path, monkeypatch):
    """Of the two that are kept, one could be cut off, the other one not marked yet."""
    settings = {**variant_settings("amt")["training"], "max_steps": 4, "eval_steps": 1}
    run_until_killed(monkeypatch, 3, make_tiny("amt"), songs, settings, tmp_path)
    (tmp_path / "checkpoint-3").mkdir()
    (tmp_path / "checkpoint-1" / MARK).unlink()
    run_until_killed(monkeypatch, 3, make_tiny("amt"), songs, settings, tmp_path)
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == ["checkpoint-2"]


def test_another_number_of_processes_is_an_error_and_no_fresh_start(tmp_path):
    complete_checkpoint(tmp_path, 100)
    with pytest.raises(InputError, match=r"rng_state_0.pth, rng_state_1.pth missing.*as many GPUs as before"):
        newest_complete(tmp_path, 2)


def overwrite(path, start, content):
    with path.open("r+b") as stream:
        stream.seek(start)
        stream.write(content)


@pytest.mark.slow
def test_a_training_with_a_damaged_checkpoint_ends_like_an_undisturbed_one(
    make_tiny, songs, tmp_path, monkeypatch, caplog
):
    caplog.set_level("INFO")
    settings = variant_settings("amt")["training"]
    undisturbed = make_tiny("amt")
    run(undisturbed, songs, settings, tmp_path / "undisturbed")
    expected = weights(undisturbed)
    killed = tmp_path / "killed"
    run_until_killed(monkeypatch, 5, make_tiny("amt"), songs, settings, killed)
    for name in ("model.safetensors", "optimizer.pt"):
        folder = shutil.copytree(killed, tmp_path / name)
        file = folder / "checkpoint-4" / name
        if name == "model.safetensors":
            overwrite(file, file.stat().st_size // 2, random.Random(0).randbytes(64))
        else:
            os.truncate(file, file.stat().st_size // 2)
        resumed = make_tiny("amt")
        run(resumed, songs, settings, folder)
        assert all(torch.equal(value, expected[key]) for key, value in weights(resumed).items())
        assert f"checkpoint-4: {name}" in caplog.text
        assert f"resuming from {folder / 'checkpoint-2'}" in caplog.text


def test_no_damage_is_overlooked(tmp_path):
    """Bytes changed, added, cut off or overwritten with zeros, as after a power cut, in any file, the mark included."""
    draws = random.Random(0)
    for number in range(200):
        folder = tmp_path / str(number)
        folder.mkdir()
        whole, damaged = (complete_checkpoint(folder, step) for step in (9, 10))
        file = draws.choice(sorted(damaged.iterdir()))
        content = bytearray(file.read_bytes())
        kind = draws.choice(["bit", "cut", "add", "zeros", "lost"])
        if kind == "bit":
            content[draws.randrange(len(content))] ^= 1 << draws.randrange(8)
        elif kind == "cut":
            del content[draws.randrange(len(content)) :]
        elif kind == "add":
            content += b"\0"
        elif kind == "zeros":
            start = draws.randrange(len(content))
            content[start:] = bytes(len(content) - start)
        if kind == "lost":
            file.unlink()
        elif file.name != MARK or json_of(content) != json_of(file.read_bytes()):
            file.write_bytes(content)
        else:
            continue
        remove_damaged(folder)
        assert newest_complete(folder, 1) == whole, (kind, file.name)
        assert not damaged.exists()


def json_of(content):
    try:
        return json.loads(content)
    except ValueError:
        return None


@pytest.mark.parametrize("mark", ["{}", '{"optimizer.pt": {}}'])
def test_a_mark_without_the_models_files_is_not_whole(mark, tmp_path):
    whole, emptied = (complete_checkpoint(tmp_path, step) for step in (9, 10))
    for path in emptied.iterdir():
        path.unlink()
    (emptied / MARK).write_text(mark)
    assert newest_complete(tmp_path, 1) == whole
    remove_damaged(tmp_path)
    assert sorted(tmp_path.iterdir()) == [whole]


def test_a_result_without_files_is_damaged(tmp_path):
    (tmp_path / MARK).write_text("{}")
    assert find_damage(tmp_path) == f"{MARK} is missing or damaged"


def test_only_plain_numbers_are_steps(tmp_path):
    """Python accepts the digits of all scripts as numbers."""
    newest = complete_checkpoint(tmp_path, 2)
    complete_checkpoint(tmp_path, "\N{ARABIC-INDIC DIGIT THREE}")
    assert newest_complete(tmp_path, 1) == newest


def test_without_any_whole_checkpoint_nothing_is_removed(tmp_path):
    for step, name in ((90, "optimizer.pt"), (100, "model.safetensors")):
        overwrite(complete_checkpoint(tmp_path, step) / name, 500, bytes(64))
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match=rf"^[^\n]*model.safetensors[^\n]*optimizer.pt[^\n]*Remove {tmp_path}[^\n]*$"):
        remove_damaged(tmp_path)
    assert sorted(tmp_path.rglob("*")) == before


def test_the_mark_says_what_sha256sum_says(tmp_path):
    checkpoint = complete_checkpoint(tmp_path, 1)
    (checkpoint / "inner").mkdir()
    (checkpoint / "inner" / "events").write_text("abc")
    mark_complete(checkpoint)
    recorded = json.loads((checkpoint / MARK).read_text())
    assert recorded.keys() >= {"inner/events", "model.safetensors"}
    lines = "".join(f"{content['sha256']}  {name}\n" for name, content in recorded.items() if name != MARK)
    subprocess.run(["sha256sum", "--check", "--strict"], input=lines, text=True, cwd=checkpoint, check=True)
    assert recorded["inner/events"]["bytes"] == 3


def test_a_clock_that_was_set_back_removes_no_new_checkpoint(make_tiny, songs, tmp_path, monkeypatch):
    """Those written before have later times."""
    settings = {**variant_settings("amt")["training"], "max_steps": 4, "eval_steps": 1}
    run_until_killed(monkeypatch, 3, make_tiny("amt"), songs, settings, tmp_path)
    tomorrow = time.time() + 86_400
    for path in tmp_path.rglob("*"):
        os.utime(path, (tomorrow, tomorrow))
    run(make_tiny("amt"), songs, settings, tmp_path)
    assert {path.name for path in tmp_path.glob("checkpoint-*")} == {"checkpoint-3", "checkpoint-4"}


def modes(folder):
    """The permissions of all files below a folder."""
    return {stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(params=[0o022, 0o027], ids=oct)
def file_mode(request):
    """The mode that new files should have under the umask that is set."""
    before = os.umask(request.param)
    yield 0o666 & ~request.param
    os.umask(before)


def test_files_have_the_mode_that_the_umask_leaves(file_mode, make_tiny, songs, llama_folder, tmp_path, monkeypatch):
    """On a cluster, others of the group have to read the models too."""
    settings = {**variant_settings("llama")["training"], "max_steps": 2}
    log = run(make_tiny("llama"), songs, settings, tmp_path / "training")
    result.write_result(tmp_path / "training", log, with_model=True)
    model = tmp_path / "training" / FINISHED / "model"
    snakemake = SimpleNamespace(
        input=SimpleNamespace(model=model, text_model=llama_folder),
        output=SimpleNamespace(model=tmp_path / "folded"),
        params=SimpleNamespace(chunk_tokens=10),
        log=[tmp_path / "fold.log"],
    )
    monkeypatch.setattr("libretto.job.start_job", lambda job: None)
    runpy.run_path(str(ROOT / "workflow" / "scripts" / "fold.py"), {"snakemake": snakemake})
    assert {path.name for path in tmp_path.rglob("*.safetensors")} == {"model.safetensors"}
    assert modes(tmp_path / "training") == modes(tmp_path / "folded") == {file_mode}


def test_one_training_at_a_time(tmp_path):
    command = ["flock", "--nonblock", str(tmp_path / LOCK), "true"]
    with locked(tmp_path):
        assert subprocess.run(command).returncode == 1
        holder = rf"process {os.getpid()} on {socket.gethostname()} since \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d\. Wait"
        with pytest.raises(InputError, match=holder), locked(tmp_path):
            pass
    assert subprocess.run(command).returncode == 0


def test_a_kill_releases_the_lock(tmp_path):
    hold = f"import pathlib, time\nwith locked(pathlib.Path({str(tmp_path)!r})): print(flush=True); time.sleep(600)"
    code = f"from libretto.lock import locked\n{hold}"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=ROOT / "workflow")
    process.stdout.readline()
    with pytest.raises(InputError, match=f"process {process.pid} "), locked(tmp_path):
        pass
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    with locked(tmp_path):
        pass


@pytest.fixture
def hold_lock(tmp_path):
    """A function that has util-linux's flock hold the lock for so many seconds, with this content of the lock file."""
    holders = []

    def hold(seconds, content):
        (tmp_path / LOCK).write_text(content)
        lock = str(tmp_path / LOCK)
        holders.append(subprocess.Popen(["flock", "--no-fork", lock, "sleep", str(seconds)]))
        while subprocess.run(["flock", "--nonblock", lock, "true"]).returncode == 0:
            time.sleep(0.01)

    yield hold
    for holder in holders:
        holder.kill()
        holder.wait()


ELSEWHERE = "process 1 on elsewhere since 2026-11-25 07:00:00"


def test_the_lock_of_another_node_is_waited_for(hold_lock, tmp_path, monkeypatch, caplog):
    """An NFS server keeps it for a while after the node's death."""
    monkeypatch.setattr(lock, "LOCK_RETRY", 0.1)
    hold_lock(1, ELSEWHERE)
    with locked(tmp_path):
        assert (tmp_path / LOCK).read_text().startswith(f"process {os.getpid()} on {socket.gethostname()} since")
    (message,) = caplog.messages
    assert f"{tmp_path} is locked by {ELSEWHERE}" in message
    assert "180 s" in message


def test_the_lock_of_another_node_is_not_waited_for_forever(hold_lock, tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "LOCK_RETRY", 0.1)
    monkeypatch.setattr(lock, "LOCK_WAIT", 1)
    hold_lock(60, ELSEWHERE)
    start = time.monotonic()
    with pytest.raises(InputError, match=f"{tmp_path} is in use by {ELSEWHERE}. Wait"), locked(tmp_path):
        pass
    assert 1 <= time.monotonic() - start < 10


def test_a_lock_whose_holder_is_unknown_is_refused_at_once(hold_lock, tmp_path, caplog):
    hold_lock(60, "")
    with pytest.raises(InputError, match=f"{tmp_path} is in use by another process. Wait"), locked(tmp_path):
        pass
    assert not caplog.messages


def test_a_file_system_without_locks_is_warned_of(tmp_path, monkeypatch, caplog):
    def refuse(file, operation):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with locked(tmp_path):
        pass
    assert "cannot be locked (Function not implemented)" in caplog.text


def test_the_hash_follows_settings_and_contents(tmp_path):
    file, folder = tmp_path / "split", tmp_path / "base"
    file.write_text("a")
    folder.mkdir()
    (folder / "weights").write_text("b")
    first = inputs_hash({"rate": 1}, [file, folder])
    assert inputs_hash({"rate": 1}, [str(file), str(folder)]) == first
    assert inputs_hash({"rate": 2}, [file, folder]) != first
    (folder / "weights").write_text("c")
    assert inputs_hash({"rate": 1}, [file, folder]) != first


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


def test_finished_trainings_alone_are_kept(tmp_path, monkeypatch, caplog):
    """And the lock; a training with other settings that has not finished is given up."""
    folder, other, given_up = (tmp_path / name for name in ("training", "other", "given up"))
    for path in (folder / FINISHED, other / FINISHED, given_up / "checkpoint-10"):
        path.mkdir(parents=True)
    for path in (tmp_path / LOCK, tmp_path / "notes", folder / "events", other / FINISHED / "weights"):
        path.touch()
    remove_all_but_finished(folder)
    kept = [other, other / FINISHED, other / FINISHED / "weights", folder, folder / FINISHED, tmp_path / LOCK]
    assert set(tmp_path.rglob("*")) == set(kept)
    assert not caplog.messages

    (folder / "events").touch()
    monkeypatch.setattr(os, "unlink", lambda *args, **kwargs: (_ for _ in ()).throw(OSError("busy")))
    remove_all_but_finished(folder)
    assert caplog.messages == [f"{folder / 'events'} cannot be removed: busy"]


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
        "log-file": folder / "logs/train/x.log",
    }
    options = [text for name, path in files.items() for text in (f"--{name}", str(path))]
    script = str(ROOT / "workflow" / "scripts" / "train.py")
    return [
        *launcher,
        script,
        "--settings",
        json.dumps(config),
        "--code",
        "tested",
        "--checkpoint-minutes",
        "0",
        *options,
    ]


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
    """It is requested again when an input was rewritten with the same content, or an output was lost."""
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
    assert "its result is taken from" in (tmp_path / "logs/train/x.log").read_text().splitlines()[-1]
    (folder,) = (tmp_path / "checkpoints").glob("*/")
    assert [path.name for path in folder.iterdir()] == [FINISHED]

    overwrite(folder / FINISHED / "model" / "model.safetensors", 5000, bytes(64))
    assert start(arguments).wait() == 1
    last = (tmp_path / "logs/train/x.log").read_text().splitlines()[-1]
    assert "model.safetensors" in last
    assert last.endswith(f"Remove {folder} to train from the start")


@pytest.mark.slow
def test_a_second_training_in_a_folder_is_refused(splits, amt_folder, llama_folder, tmp_path):
    """In one line, and no process waits for the one that found the lock held."""
    (tmp_path / "checkpoints").mkdir()
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    with (tmp_path / "checkpoints" / LOCK).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        print(f"process 1 on {socket.gethostname()}", file=file, end="", flush=True)
        assert start(command("amt", tmp_path, splits, amt_folder, llama_folder, launcher)).wait(timeout=120) == 1
    (line,) = (tmp_path / "logs/train/x.log").read_text().splitlines()
    assert line.endswith(f"process 1 on {socket.gethostname()}. Wait until it has ended, or stop it")
    assert not files(tmp_path)


def without_dropout(folder, copy):
    from transformers import GPT2LMHeadModel

    model = GPT2LMHeadModel.from_pretrained(folder)
    model.config.resid_pdrop = model.config.embd_pdrop = model.config.attn_pdrop = 0.0
    model.save_pretrained(copy)
    return str(copy)


WORKER = """
import os, pathlib, signal, sys, time
stopped = []
signal.signal(signal.SIGTERM, lambda *_: stopped.append(1))
pathlib.Path(f"up-{os.environ['RANK']}").touch()
while not stopped:
    time.sleep(0.1)
time.sleep(33)  # as long as a large checkpoint takes; torchrun by itself kills after 30 s
pathlib.Path(f"saved-{os.environ['RANK']}").touch()
sys.exit(143)
"""


@pytest.mark.slow
def test_several_processes_have_time_for_a_checkpoint(tmp_path):
    (tmp_path / "worker.py").write_text(WORKER)
    command = ["bash", ROOT / "workflow/scripts/launch.sh", "--standalone", "--nproc-per-node", "2", "worker.py"]
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    process = subprocess.Popen(command, cwd=tmp_path, env=env, start_new_session=True)
    deadline = time.monotonic() + 60
    while len(list(tmp_path.glob("up-*"))) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    os.killpg(process.pid, signal.SIGTERM)
    assert process.wait(90) != 0
    assert {path.name for path in tmp_path.glob("saved-*")} == {"saved-0", "saved-1"}


# ---- Two stages ----


@pytest.mark.parametrize("family", ["amt", "llama"])
def test_a_second_stage_starts_from_the_best_model_of_the_first(
    splits, amt_folder, llama_folder, tmp_path, monkeypatch, family
):
    base = amt_folder if family == "amt" else llama_folder
    files = splits["train"], splits["valid"]
    settings = variant_settings(family, max_steps=2, eval_steps=1, learning_rate=1e-2)
    first, second = tmp_path / "first", tmp_path / "second"
    train_variant({"variant": settings, "text": TEXT, "seed": 0}, *files, base, llama_folder, None, first, 0, False)
    kept = result.best_model(first)
    started, train = [], finetuning.train

    def note_the_start(variant, *arguments):
        started.append(weights(variant))
        return train(variant, *arguments)

    monkeypatch.setattr(finetuning, "train", note_the_start)
    settings = {key: value for key, value in settings.items() if key != "init"} | {"start": "music"}
    log = train_variant(
        {"variant": settings, "text": TEXT, "seed": 1}, *files, str(kept), llama_folder, None, second, 0, False
    )
    expected = load_file(kept / "model.safetensors")
    assert expected.keys() <= started[0].keys()
    assert all(torch.equal(started[0][name], value) for name, value in expected.items())
    assert log[0]["step"] == 0
    assert log[0]["val_loss"] == result.read_scores(kept)["val_loss"]
    assert result.read_scores(kept)["step"] > 0


@pytest.mark.parametrize("change", [{}, {"chunks": "random"}, {"descriptions": "shuffled"}], ids=str)
def test_what_a_variant_says_of_its_songs_reaches_them(splits, amt_folder, llama_folder, tmp_path, monkeypatch, change):
    given = []
    monkeypatch.setattr(finetuning, "train", lambda variant, train_set, *rest: given.append(train_set))
    settings = {"variant": variant_settings("amt") | change, "text": TEXT | {"description_dropout": 0.3}, "seed": 0}
    files = splits["train"], splits["valid"]
    train_variant(settings, *files, amt_folder, llama_folder, None, tmp_path, 0, False)
    (songs,) = given
    found = songs.random_chunks, songs.described is not None, songs.dropout
    assert found == ("chunks" in change, "descriptions" in change, 0.3)


# ---- Adapters ----


@pytest.mark.parametrize("family", ["amt", "llama"])
def test_an_adapter_trains_its_matrices_and_what_is_new_alone(make_tiny, songs, tmp_path, family):
    variant = make_tiny(family)
    before = weights(variant)
    add_adapter(variant.model, {"rank": 4, "alpha": 8, "dropout": 0.0})
    trained = {name for name, parameter in variant.model.named_parameters() if parameter.requires_grad}
    assert all(".lora_" in name or name.startswith(variant.model.new_parameters) for name in trained)
    assert sum(".lora_A" in name for name in trained) == sum(".lora_B" in name for name in trained) >= 8
    items = songs["valid"]
    batch = variant.encode(variant.collate([MiddleChunks(items, variant.prompter)[i] for i in range(2)]))
    start = variant.model.eval().token_losses(**batch)
    torch.testing.assert_close(start, make_same(variant, family, before).token_losses(**batch))  # B starts as zeros

    log = run(variant, songs, {**variant_settings(family)["training"], "learning_rate": 1e-2}, tmp_path)
    assert log[-1]["val_loss"] < log[0]["val_loss"]
    after = {name.replace(".base_layer.", "."): value for name, value in weights(variant).items()}
    moved = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert moved
    assert all(name.startswith(variant.model.new_parameters) for name in moved)

    # What is kept has no adapter, and computes the same: as the adapted layers do, and W + alpha / rank B A by hand.
    kept = trained_model(variant_settings(family), str(result.best_model(tmp_path)), torch.float32).eval()
    assert not any("lora" in name for name in kept.state_dict())
    difference = (kept.token_losses(**batch) - variant.model.eval().token_losses(**batch)).abs().max().item()
    print(f"{family}: largest difference of a loss after merging: {difference:.1e}")
    assert difference < 5e-5
    name = "model.layers.0.mlp.up_proj" if family == "llama" else "transformer.h.0.mlp.c_fc"
    layer = variant.model.get_submodule(name)
    product = layer.lora_B["default"].weight @ layer.lora_A["default"].weight * 8 / 4
    expected = before[f"{name}.weight"] + (product if family == "llama" else product.T)
    torch.testing.assert_close(kept.get_submodule(name).weight, expected)


def make_same(variant, family, state):
    model = type(variant.model)(variant.model.config)
    model.load_state_dict(state)
    model.set_attn_implementation(CAUSAL)
    return model.eval()


def test_a_frozen_base_stays_as_it_is(make_tiny, songs, tmp_path):
    variant = make_tiny("llama")
    before = weights(variant)
    freeze_base(variant.model)
    log = run(variant, songs, {**variant_settings("llama")["training"], "learning_rate": 1e-2}, tmp_path)
    assert log[-1]["val_loss"] < log[0]["val_loss"]
    moved = {name for name, value in weights(variant).items() if not torch.equal(value, before[name])}
    assert moved == {"music_embedding.weight", "music_projection.weight", "expanded_lm_head.weight"}


@pytest.mark.slow
def test_an_interrupted_training_of_an_adapter_ends_like_an_undisturbed_one(make_tiny, songs, tmp_path, monkeypatch):
    settings = variant_settings("llama")["training"]

    def make():
        variant = make_tiny("llama")
        torch.manual_seed(0)
        add_adapter(variant.model, {"rank": 2, "alpha": 4, "dropout": 0.1})
        return variant

    undisturbed = make()
    run(undisturbed, songs, settings, tmp_path / "undisturbed")
    run_until_killed(monkeypatch, 3, make(), songs, settings, tmp_path / "killed")
    resumed = make()
    run(resumed, songs, settings, tmp_path / "killed")
    expected = weights(undisturbed)
    assert all(torch.equal(value, expected[name]) for name, value in weights(resumed).items())
    kept = [result.best_model(tmp_path / name) / "model.safetensors" for name in ("undisturbed", "killed")]
    assert kept[0].read_bytes() == kept[1].read_bytes()
