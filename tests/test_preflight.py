"""The preflight: what it measures, what it projects, and that it fails while something must be fixed."""

import contextlib
import json
import re
import shutil
import socket
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml

from libretto.config.jobs import used_sources
from libretto.config.sources import download_hosts, source_problems
from libretto.config.systems import systems
from libretto.errors import InputError
from libretto.preflight.device import or_problem
from libretto.preflight.generation import measure_generation
from libretto.preflight.models import base_config, random_amt, random_variant
from libretto.preflight.page import answers, find_problems, needed_bytes, project, to_markdown
from libretto.preflight.training import MusicTrainer, measure_training
from tests.checkout import job_counts, snakemake
from tests.conftest import variant_settings

CPU = torch.device("cpu")
SAMPLING = {"batch_size": 2, "max_new_tokens": 6, "top_p": 0.98, "top_k": 0, "constraint": "grammar", "instruments": []}


@pytest.fixture
def make_random(amt_folder, llama_folder):
    def make(family, layers=None):
        folders = (amt_folder if family == "amt" else llama_folder), llama_folder
        shapes = (base_config("sources.models.any", {}, folder, layers) for folder in folders)
        return random_variant(variant_settings(family), *shapes, 64, CPU)

    return make


def test_a_training_is_measured_and_resumed(make_random, family, tmp_path):
    variant = make_random(family)
    settings = variant_settings(family)["training"]
    found = measure_training(variant, settings, chunk_tokens=40, steps=2, n_valid=3, folder=tmp_path)
    n = sum(parameter.numel() for parameter in variant.model.parameters())
    assert found["n_parameters"] == n
    assert found["best_bytes"] == pytest.approx(4 * n, rel=0.1)  # fp32 weights
    assert found["checkpoint_bytes"] == pytest.approx(12 * n, rel=0.1)  # and AdamW's two moments
    targets = 39 if family == "amt" else 139  # Llama's loss is over the prompt too
    assert found["tokens_per_s"] == pytest.approx(targets * found["sequences_per_s"])
    positive = ("sequences_per_s", "songs_per_s", "checkpoint_s", "resume_s", "memory_gb", "operations")
    assert all(found[name] > 0 for name in positive)


def test_operations_are_six_for_each_weight_and_token(make_random, tmp_path):
    """The rule of thumb of Kaplan et al. (2020), which leaves out attention."""
    variant = make_random("llama")
    settings = variant_settings("llama")["training"]
    found = measure_training(variant, settings, chunk_tokens=40, steps=1, n_valid=1, folder=tmp_path)
    tables = ("model.embed_tokens", "music_embedding")  # are looked up; the tied one is the head too, counted below
    weights = sum(p.numel() for name, p in variant.model.named_parameters() if not name.startswith(tables))
    weights += variant.model.model.embed_tokens.weight.numel()
    assert found["operations"] == pytest.approx(6 * weights * 139, rel=0.1)


def test_a_resumption_that_does_not_restore_the_model_is_noticed(make_random, tmp_path, monkeypatch):
    monkeypatch.setattr(MusicTrainer, "_load_from_checkpoint", lambda *args, **kwargs: None)
    settings = variant_settings("amt")["training"]
    with pytest.raises(RuntimeError, match="cannot be resumed from: the weights differ"):
        measure_training(make_random("amt"), settings, 40, 1, 1, tmp_path)


def test_a_generation_is_measured(make_random, family, amt_folder):
    from libretto.generation.sampling import conditioned, unconditional

    assert measure_generation(conditioned(make_random(family, layers=1), 1.0), SAMPLING, 1.0)["seconds"] > 0
    amt = random_amt(base_config("sources.models.any", {}, amt_folder), CPU)
    assert measure_generation(unconditional(amt), SAMPLING, 1.0)["seconds"] > 0


def test_a_model_of_unknown_size_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match=r"sources\.models\.mine: there is no .*config\.json yet"):
        base_config("sources.models.mine", {"hub": "me/mine"}, str(tmp_path))


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB."), "memory is too small (CUDA out of"),
        (InputError("no such file"), "no such file"),
    ],
)
def test_what_would_stop_a_rule_is_a_problem(error, said):
    def fail():
        raise error

    assert said in or_problem(fail)["problem"]


# ---- The page ----


@pytest.fixture
def figures(config):
    training = {
        **{"memory_gb": 70.0, "sequences_per_s": 40.0, "tokens_per_s": 45_000.0, "songs_per_s": 100.0},
        **{"checkpoint_s": 60.0, "operations": 1e13, "peak": 1e15, "checkpoint_bytes": 43e9, "best_bytes": 14e9},
    }
    found = {f"train/{name}": training for name in config["variants"]}
    found |= {f"generate/{name}": {"memory_gb": 30.0, "seconds": 9.0} for name in systems(config)}
    return found | {f"embed/{kind}": {"memory_gb": 2.0, "seconds": 0.36} for kind in ("fad", "clap")}


def sampled(config):
    return [system for system in systems(config).values() if system.is_sampled]


def test_hours_are_by_arithmetic(config, figures):
    config |= {"checkpoint_minutes": 20}
    rows = {(row["rule"], row["item"]): row for row in project(config, figures, sampled(config))}
    # 15,000 steps of 64 at 40 sequences/s; 61 validations of 4,000 songs at 100/s; 20 checkpoints of a minute.
    assert rows["train", "llama-3b"]["hours"] == pytest.approx((24_000 + 61 * 40 + 20 * 60) / 3600)
    assert rows["train", "llama-3b"]["speed"] == "45,000 tokens/s, 40% of the card's peak"
    assert rows["validate", "amt"]["hours"] == pytest.approx(80 / 3600)
    assert rows["generate", "llama-3b-t1.1"]["hours"] == pytest.approx(4 * 9 / 3600)  # 1,000 in batches of 250
    assert rows["embed_fad", "all systems"]["hours"] == pytest.approx((9 * 1000 + 3000) * 0.36 / 3600)
    assert rows["embed_clap", "all systems"]["hours"] == pytest.approx(11 * 1000 * 0.36 / 3600)
    page = to_markdown("paper", {"device": "H200", "device_memory_gb": 141.0}, [*rows.values()], [], 10**12, False)
    assert "70.0 of 141" in page
    assert "Nothing was found." in page
    quick = to_markdown("paper", {"device": "CPU", "device_memory_gb": None}, [*rows.values()], ["x"], 10**12, True)
    assert not re.search(r"\d (tokens|songs|samples)", quick.partition("## What the run")[2])


def test_what_was_not_measured_has_no_hours(config, figures):
    config |= {"checkpoint_minutes": 20}
    figures["train/llama-3b"] = figures["generate/llama-3b-t1.0"] = figures["embed/fad"] = {"problem": "no memory"}
    rows = project(config, figures, sampled(config))
    missing = {(row["rule"], row["item"]) for row in rows if row["hours"] is None}
    assert missing == {
        *(("train", "llama-3b"), ("validate", "llama-3b"), ("embed_fad", "all systems")),
        *(("generate", "llama-3b-t1.0"), ("generate", "llama-3b-t1.1")),
    }


def test_problems_name_the_disk_the_network_and_what_failed(figures, tmp_path, monkeypatch):
    assert needed_bytes(figures) == 5 * 2 * 14e9 + 3 * 43e9
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=268e9))
    run = tmp_path / "results/paper"  # is not there yet
    (disk,) = find_problems([], figures, run, [])
    assert "268 GB free; models and checkpoints need 269 GB" in disk
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=270e9))
    assert find_problems([], figures, run, []) == []
    figures["train/amt"] = {"problem": "no memory"}
    assert find_problems(["no soundfont"], figures, run, []) == ["no soundfont", "train/amt: no memory"]


def test_all_that_is_wrong_with_used_sources_is_listed(config, monkeypatch):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setenv("HF_TOKEN_PATH", "/nowhere")
    config["sources"]["soundfont"] = {"path": "/nowhere.sf2"}
    config["metrics"]["clap"] = False
    config["sources"]["models"]["clap"] = {"path": "/nowhere.pt"}  # is not used
    names = used_sources(config)
    assert set(names) == {"lmd", "midicaps", "soundfont", "amt-large", "llama-1b", "llama-3b", "vggish"}
    problems = source_problems(config, names, "results/paper/sources")
    assert [problem.split(":")[0] for problem in problems] == [
        *("sources.soundfont.path", "sources.models.llama-1b", "sources.models.llama-3b"),
    ]


def test_hosts_of_downloads_are_asked(config, tmp_path):
    config["sources"]["midicaps"] = {"path": "midicaps.json"}
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as server:
        config["sources"]["lmd"] = {"url": f"http://127.0.0.1:{server.getsockname()[1]}/lmd.tar.gz"}
        (host,) = hosts = download_hosts(config, ["lmd", "midicaps"], str(tmp_path))
        assert answers(host)
        assert find_problems([], {}, tmp_path, hosts) == []
    assert not answers(host)
    assert "network" in find_problems([], {}, tmp_path, hosts)[0]
    (tmp_path / "lmd.tar.gz").touch()
    assert download_hosts(config, ["lmd", "midicaps"], str(tmp_path)) == []
    assert download_hosts(config, ["llama-1b"], str(tmp_path)) == [("huggingface.co", 443)]


@pytest.mark.slow
@pytest.mark.xdist_group("demo")
def test_preflight_of_the_demo_fails_until_what_it_names_is_mended(demo, tmp_path):
    """For one variant, and cut down, to save time."""
    others = dict.fromkeys(("amt", "amt-weighted", "llama-3b", "llama-3b-amt"))
    settings = {"preflight": {"quick": True}, "variants": others, "sources": {"soundfont": {"path": "nowhere.sf2"}}}
    call = ["--profile", "demo", "--configfile", "demo/experiment.yaml", str(tmp_path / "quick.yaml")]
    (tmp_path / "quick.yaml").write_text(yaml.safe_dump(settings))
    run = snakemake(demo, *call, "--", "preflight")
    assert run.returncode != 0
    assert "sources.soundfont.path: there is no nowhere.sf2" in run.stdout.splitlines()[-1]
    page = demo / "results/demo/preflight/preflight.json"
    assert json.loads(page.read_text())["problems"]
    assert not list(Path(page.parent, "checkpoints").glob("*"))

    del settings["sources"]
    (tmp_path / "quick.yaml").write_text(yaml.safe_dump(settings))
    run = snakemake(demo, *call, "--", "preflight")
    assert run.returncode == 0, run.stdout[-3000:]
    assert job_counts(run.stdout).keys() == {"preflight_page", "preflight", "total"}
    assert json.loads(page.read_text())["problems"] == []
    assert "Cut down" in page.with_suffix(".md").read_text()
