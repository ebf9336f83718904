"""The preflight: what it measures, what it projects, and that it fails while something must be fixed."""

import errno
import json
import re
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import torch
import yaml

from libretto.config.jobs import preflight_sampling, preflight_training, used_sources
from libretto.config.sources import download_urls, source_problems, unreachable_hosts
from libretto.config.systems import systems
from libretto.errors import InputError
from libretto.models import IGNORED
from libretto.preflight.device import check_gpu, count_operations, or_problem
from libretto.preflight.generation import measure_generation
from libretto.preflight.models import RandomSongs, base_config, random_amt, random_variant
from libretto.preflight.page import find_problems, needed_bytes, project, to_markdown
from libretto.preflight.training import MusicTrainer, measure_training
from libretto.training.compilation import compile_parts
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
    labels = variant.collate([RandomSongs(1, 40)[0]])["labels"]  # Llama's loss is over the prompt too
    assert found["tokens_per_s"] == pytest.approx((labels != IGNORED).sum().item() * found["sequences_per_s"])
    positive = ("sequences_per_s", "songs_per_s", "checkpoint_s", "resume_s", "memory_gb", "operations")
    assert all(found[name] > 0 for name in positive)


@pytest.mark.parametrize("is_compiled", [False, True])
def test_operations_are_those_of_all_products(is_compiled, make_random, monkeypatch):
    """Six for each weight and token (Kaplan et al., 2020), and the products of attention, in three passes."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    monkeypatch.setenv("CC", "/nowhere")
    torch._dynamo.reset()
    variant = make_random("llama")
    if is_compiled:
        compile_parts(variant.model)

    def run():
        variant.model(**variant.collate([RandomSongs(1, 40)[0]])).loss.backward()

    run()
    n, config = 139, variant.model.config  # tokens: 100 of the prompt and 40, but for the last
    tables = ("model.embed_tokens", "music_embedding")  # are looked up; the tied one is the head too, counted below
    weights = sum(
        p.numel() for name, p in variant.model.named_parameters() if p.ndim == 2 and not name.startswith(tables)
    )
    rows = variant.model.lm_head.weight.shape[0] + variant.model.expanded_lm_head.weight.shape[0]
    weights += (variant.model.lm_head.weight.shape[0] + -rows % 8) * config.hidden_size
    attention = 2 * 2 * n**2 * config.head_dim * config.num_attention_heads * config.num_hidden_layers
    angles = 2 * config.head_dim // 2 * n  # of the rotary embedding
    assert count_operations(run) == 6 * weights * n + 3 * attention + angles


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
        (OSError(errno.ENOSPC, "No space left on device", "a.bin"), "make room on that disk"),
    ],
)
def test_what_would_stop_a_rule_is_a_problem(error, said):
    def fail():
        raise error

    assert said in or_problem(fail, "lower its batch")["problem"]
    # A training that is to be spread over several GPUs need not fit on one.
    assert or_problem(fail, None).keys() == ({"problem"} if not isinstance(error, torch.OutOfMemoryError) else set())


# ---- The page ----


@pytest.fixture
def figures(config):
    training = {
        **{"memory_gb": 70.0, "sequences_per_s": 40.0, "tokens_per_s": 45_000.0, "songs_per_s": 100.0},
        **{"checkpoint_s": 60.0, "operations": 1e13, "peak": 1e15, "checkpoint_bytes": 43e9, "best_bytes": 14e9},
    }
    found = {f"train/{name}": training for name in config["variants"]}
    found |= {f"generate/{name}": {"memory_gb": 30.0, "seconds": 9.0, "batch_size": 250} for name in systems(config)}
    return found | {f"embed/{kind}": {"memory_gb": 2.0, "seconds": 0.36} for kind in ("fad", "clap")}


def sampled(config):
    return [system for system in systems(config).values() if system.is_sampled]


def test_hours_are_by_arithmetic(config, figures):
    config |= {"checkpoint_minutes": 20}
    rows = {(row["rule"], row["item"]): row for row in project(config, figures, sampled(config))}
    # 15,000 steps of 64 at 40 sequences/s; 61 validations of 4,000 songs at 100/s, every 441 s; so of 60 validations
    # every third is 20 minutes after the last checkpoint, which takes a minute.
    assert rows["train", "llama-3b"]["hours"] == pytest.approx((24_000 + 61 * 40 + 20 * 60) / 3600)
    always, seldom = (
        next(
            row["hours"]
            for row in project(config | {"checkpoint_minutes": minutes}, figures, [])
            if row["item"] == "llama-3b"
        )
        for minutes in (0, 10_000)
    )
    assert always == pytest.approx((24_000 + 61 * 40 + 60 * 60) / 3600)
    assert seldom == pytest.approx((24_000 + 61 * 40) / 3600)
    assert rows["train", "llama-3b"]["speed"] == "45,000 tokens/s, 40% of the card's peak"
    assert rows["validate", "amt"]["hours"] == pytest.approx(80 / 3600)
    assert rows["generate", "llama-3b-t1.1"]["hours"] == pytest.approx(4 * 9 / 3600)  # 1,000 in batches of 250
    assert rows["embed_fad", "all systems"]["hours"] == pytest.approx((9 * 1000 + 3000) * 0.36 / 3600)
    assert rows["embed_clap", "all systems"]["hours"] == pytest.approx((11 * 1000 + 3000) * 0.36 / 3600)
    config["metrics"]["fmd"] = True
    fmd = project(config, figures | {"embed/clamp2": {"memory_gb": 1.0, "seconds": 0.018}}, sampled(config))[-1]
    assert (fmd["rule"], fmd["speed"]) == ("embed_clamp2", "0.02 s for a sample")
    assert fmd["hours"] == pytest.approx(rows["embed_fad", "all systems"]["hours"] / 20)
    page = to_markdown("paper", {"device": "H200", "device_memory_gb": 141.0}, [*rows.values()], [], 10**12, False)
    assert "70.0 of 141" in page
    assert "Nothing was found." in page
    quick = to_markdown("paper", {"device": "CPU", "device_memory_gb": None}, [*rows.values()], ["x"], 10**12, True)
    assert not re.search(r"\d (tokens|songs|samples)", quick.partition("## What the run")[2])


def test_what_was_not_measured_has_no_hours(config, figures):
    config |= {"checkpoint_minutes": 20}
    figures["generate/llama-3b-t1.0"] = figures["embed/fad"] = {"problem": "no memory"}
    figures["train/llama-3b"] = {}  # needs several GPUs
    assert not any("train" in problem for problem in find_problems([], figures, [], None))
    rows = project(config, figures, sampled(config))
    missing = {(row["rule"], row["item"]) for row in rows if row["hours"] is None}
    assert missing == {
        *(("train", "llama-3b"), ("validate", "llama-3b"), ("embed_fad", "all systems")),
        *(("generate", "llama-3b-t1.0"), ("generate", "llama-3b-t1.1")),
    }


def test_problems_name_the_disk_the_network_and_what_failed(figures):
    assert needed_bytes(figures) == 5 * (2 * 14e9 + 3 * 43e9)  # all trainings may run at once
    (disk,) = find_problems([], figures, [], int(784e9))
    assert "784 GB free; models and checkpoints need 785 GB" in disk
    assert find_problems([], figures, [], int(786e9)) == []
    assert find_problems([], figures, [], None) == []
    figures["train/amt"] = {"problem": "no memory"}
    source, failed, network = find_problems(["no soundfont"], figures, ["example.org"], int(786e9))
    assert (source, failed) == ("no soundfont", "train/amt: no memory")
    assert network.startswith("example.org does not answer")


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


class NotFound(BaseHTTPRequestHandler):
    def do_HEAD(self):
        self.send_error(404)

    def log_message(self, *args):
        pass


def test_hosts_of_downloads_are_asked(config, tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    config["sources"]["midicaps"] = {"path": "midicaps.json"}
    with HTTPServer(("127.0.0.1", 0), NotFound) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        host = f"127.0.0.1:{server.server_port}"
        config["sources"]["lmd"] = {"url": f"http://{host}/lmd.tar.gz"}
        urls = download_urls(config, ["lmd", "midicaps"], str(tmp_path))
        assert urls == [f"http://{host}/lmd.tar.gz"]
        assert unreachable_hosts(urls) == []  # 404 is an answer too
        server.shutdown()
    assert unreachable_hosts(urls) == [host]
    (tmp_path / "lmd.tar.gz").touch()
    assert download_urls(config, ["lmd", "midicaps"], str(tmp_path)) == []
    assert download_urls(config, ["llama-1b"], str(tmp_path)) == ["https://huggingface.co/meta-llama/Llama-3.2-1B"]


def test_a_preflight_depends_on_what_it_measures_alone(config):
    config |= {"preflight": {"quick": False, "steps": 20}}
    config["variants"]["llama-3b"]["training"] |= {"gradient_checkpointing": False, "compile": True, "shard": False}
    settings = preflight_training(config, "llama-3b"), preflight_sampling(config, systems(config)["llama-3b-t1.0"])
    config["variants"]["llama-3b"]["training"] |= {"learning_rate": 1.0, "max_steps": 7}
    assert settings == (
        preflight_training(config, "llama-3b"),
        preflight_sampling(config, systems(config)["llama-3b-t1.0"]),
    )
    assert settings[0]["needs_gpu"]
    with pytest.raises(InputError, match="torch sees no GPU"):
        check_gpu(not torch.cuda.is_available())
    check_gpu(False)


@pytest.mark.slow
@pytest.mark.xdist_group("demo-further")
def test_preflight_of_the_demo_fails_until_what_it_names_is_fixed(demo, tmp_path):
    """For one variant, and cut down, to save time."""
    settings = {"preflight": {"quick": True}, "variants": {"amt-weighted": None}}
    settings["sources"] = {"soundfont": {"path": "nowhere.sf2"}}
    call = ["--profile", "demo", "--configfile", "demo/experiment.yaml", str(tmp_path / "quick.yaml")]
    (tmp_path / "quick.yaml").write_text(yaml.safe_dump(settings))
    run = snakemake(demo, *call, "--", "preflight")
    assert run.returncode != 0
    assert "sources.soundfont.path: there is no nowhere.sf2" in run.stdout.splitlines()[-1]
    page = demo / "results/demo/preflight/preflight.json"
    assert json.loads(page.read_text())["problems"]
    assert not list(Path(page.parent, "checkpoints").glob("*"))

    # What could not be measured is measured again; here, by hand, a figure that says so.
    embedded = page.parent / "embed/fad.json"
    embedded.write_text(json.dumps(json.loads(embedded.read_text()) | {"problem": "as a full disk leaves it"}))
    assert snakemake(demo, *call, "--", "preflight").returncode != 0
    assert not embedded.exists()

    del settings["sources"]
    (tmp_path / "quick.yaml").write_text(yaml.safe_dump(settings))
    run = snakemake(demo, *call, "--", "preflight")
    assert run.returncode == 0, run.stdout[-3000:]
    assert job_counts(run.stdout).keys() == {"preflight_embed", "preflight_page", "preflight", "total"}
    assert json.loads(page.read_text())["problems"] == []
    assert "Cut down" in page.with_suffix(".md").read_text()
