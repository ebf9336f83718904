"""What jobs depend on: nothing that they read may be missing, and nothing else may rerun them."""

import copy

import pytest
from snakemake.utils import validate

from libretto.config.checks import SCHEMA
from libretto.config.jobs import (
    command_options,
    composed_prompts,
    generating_models,
    generating_settings,
    preflight_training,
    published_base,
    scored_files,
    split_file,
    text_settings,
    training_models,
    training_splits,
    used_sources,
    variant_settings,
)
from libretto.config.systems import sampling_settings, systems
from libretto.errors import InputError

LLAMAS_TEXT = {"max_tokens", "instruction", "instruction_without_description"}


@pytest.fixture
def config(config):
    """The shipped config, with local folders as models."""
    config["sources"]["models"] = {name: {"path": f"/models/{name}"} for name in config["sources"]["models"]}
    return config


@pytest.mark.parametrize(
    ("variant", "models"),
    [
        ("amt", {"base": "amt-large", "text_model": "llama-1b"}),
        ("llama-3b", {"base": "llama-3b", "text_model": "llama-3b"}),
        ("llama-3b-amt", {"base": "llama-3b", "text_model": "llama-3b", "init_from": "amt-large"}),
    ],
)
def test_the_models_that_a_training_reads(config, variant, models):
    assert training_models(config, variant, "runs/a") == {role: f"/models/{name}" for role, name in models.items()}


def test_a_downloaded_model_is_read_where_its_rule_puts_it(config):
    config["sources"]["models"]["llama-3b"] = {"hub": "meta-llama/Llama-3.2-3B"}
    assert set(training_models(config, "llama-3b", "runs/a").values()) == {"runs/a/sources/models/llama-3b"}


def test_the_models_that_a_generation_reads(config):
    rows = systems(config)
    assert generating_models(config, rows["amt-weighted-t1.0"], "runs/a") == {
        "model": "runs/a/train/amt-weighted/model",
        "best": "runs/a/train/amt-weighted/best.json",
        "text_model": "/models/llama-1b",
    }
    assert generating_models(config, rows["amt-unconditional-t1.0"], "runs/a") == {"model": "/models/amt-large"}


def test_a_row_is_scored_from_what_it_has(config):
    config["metrics"]["clap"] = True
    needed = {name: set(scored_files(config, system, "runs/a")) for name, system in systems(config).items()}
    assert needed["ground-truth"] == needed["ground-truth-random-text"] == {"clap"}
    assert needed["amt-unconditional-t1.0"] == {"clap", "clap_reference", "fad", "fad_reference"}
    assert needed["llama-3b-amt-t1.1"] == {"clap", "clap_reference", "fad", "fad_reference", "validation"}
    config["metrics"]["fad_embedding"] = "clap"  # then FAD is that in CLAP's space
    assert "clap_reference" not in scored_files(config, systems(config)["amt-unconditional-t1.0"], "runs/a")
    config["metrics"]["clap"] = False
    assert scored_files(config, systems(config)["llama-1b-t1.1"], "runs/a") == {
        "fad": "runs/a/embeddings/llama-1b-t1.1/fad.parquet",
        "fad_reference": "runs/a/embeddings/background/fad.parquet",
        "validation": "runs/a/metrics/validation/llama-1b.json",
    }


def test_fmd_has_inputs_where_it_is_on(config):
    config["metrics"] |= {"clap": False, "fmd": True}
    rows = systems(config)
    assert scored_files(config, rows["ground-truth"], "runs/a") == {}
    assert scored_files(config, rows["amt-unconditional-t1.0"], "runs/a") == {
        "fad": "runs/a/embeddings/amt-unconditional-t1.0/fad.parquet",
        "fad_reference": "runs/a/embeddings/background/fad.parquet",
        "fmd": "runs/a/embeddings/amt-unconditional-t1.0/clamp2.parquet",
        "fmd_reference": "runs/a/embeddings/background/clamp2.parquet",
    }
    assert "clamp2" in used_sources(config)
    config["metrics"]["fmd"] = False
    assert "clamp2" not in used_sources(config)


def test_options_are_quoted_and_may_be_missing():
    assert command_options({"model": "a b", "best": "c.json", "init-from": None}) == "--model 'a b' --best c.json"
    assert command_options({"init-from": None}) == ""


def test_the_texts_of_a_family(config):
    assert text_settings(config, "amt") == {"max_tokens": 256}
    assert text_settings(config, "llama").keys() == LLAMAS_TEXT


def test_a_training_depends_on_its_variant_but_not_on_how_it_is_sampled(config):
    settings = variant_settings(config, "llama-1b")
    assert settings["text"].keys() == LLAMAS_TEXT | {"description_dropout"}
    assert settings["variant"] == {key: config["variants"]["llama-1b"][key] for key in
                                   ("family", "base", "init", "training")}  # fmt: skip
    assert settings["seed"] == config["seed"]
    changed = copy.deepcopy(config)
    changed["variants"]["llama-1b"]["temperatures"] = [0.9]
    changed["variants"]["amt"]["training"]["max_steps"] = changed["sampling"]["n"] = 1
    changed["variants"]["amt"]["description_dropout"] = 0.3
    assert variant_settings(changed, "llama-1b") == settings
    assert settings["text"]["description_dropout"] == 0.1
    assert variant_settings(changed, "amt")["text"]["description_dropout"] == 0.3
    assert "description_dropout" not in variant_settings(changed, "amt")["variant"]
    changed["variants"]["llama-1b"]["training"]["max_steps"] = 1
    assert variant_settings(changed, "llama-1b") != settings


def test_a_variants_length_decides_which_splits_it_reads_and_nothing_else(config):
    settings = variant_settings(config, "llama-1b")
    for length, folder in {1024: "runs/a/data/splits", 4096: "runs/a/data/splits/4096"}.items():
        config["variants"]["llama-1b"]["chunk_tokens"] = length
        assert variant_settings(config, "llama-1b") == settings
        assert split_file(config, "test", length, "runs/a") == f"{folder}/test.parquet"
        read = {"train": f"{folder}/train.parquet", "valid": f"{folder}/valid.parquet"}
        assert training_splits(config, "llama-1b", "runs/a") == read
        config["variants"]["llama-1b"]["songs"] = "unpaired"
        assert training_splits(config, "llama-1b", "runs/a")["train"] == f"runs/a/data/unpaired/{length}/train.parquet"
        del config["variants"]["llama-1b"]["songs"]
        assert training_splits(config, "llama-3b", "runs/a")["train"] == "runs/a/data/splits/train.parquet"


def test_a_second_stage_reads_the_firsts_model_and_what_tells_of_it(config):
    config["variants"]["second"] = {"family": "llama", "base": "llama-1b", "start": "llama-1b"}
    assert training_models(config, "second", "runs/a") == {
        "base": "runs/a/train/llama-1b/model",
        "best": "runs/a/train/llama-1b/best.json",
        "text_model": "/models/llama-1b",
    }


def test_a_preflight_trains_at_the_variants_length(config):
    validate(config, SCHEMA)
    config["variants"]["llama-1b"]["chunk_tokens"] = 4096
    lengths = {name: preflight_training(config, name)["chunk_tokens"] for name in config["variants"]}
    assert lengths.pop("llama-1b") == 4096
    assert set(lengths.values()) == {1024}


def test_a_generation_depends_on_the_kind_of_model_and_not_on_its_training(config):
    rows = systems(config)
    weighted = {"variant": {"family": "amt", "text_states": "weighted"}, "text": {"max_tokens": 256}}
    assert generating_settings(config, rows["amt-weighted-t1.0"]) == weighted
    settings = generating_settings(config, rows["llama-1b-t1.1"])
    assert settings["variant"] == {"family": "llama"}
    assert settings["text"].keys() == LLAMAS_TEXT
    assert generating_settings(config, rows["amt-unconditional-t1.0"]) is None


def test_a_variant_samples_in_its_own_way_and_trains_as_before(config):
    before = variant_settings(config, "llama-1b")
    config["variants"]["llama-1b"]["sampling"] = {"constraint": "grammar"}
    rows = systems(config)
    assert sampling_settings(config, rows["llama-1b-t1.1"]) == config["sampling"] | {"constraint": "grammar"}
    assert sampling_settings(config, rows["llama-3b-t1.1"]) == config["sampling"]
    assert sampling_settings(config, rows["amt-unconditional-t1.0"]) == config["sampling"]
    assert variant_settings(config, "llama-1b") == before
    config["unconditional"]["sampling"] = {"instruments": [0]}
    assert sampling_settings(config, rows["amt-unconditional-t1.0"]) == config["sampling"] | {"instruments": [0]}


def test_your_own_prompts_are_a_list_or_the_lines_of_a_file(config, tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_text('a "big" waltz\n\n it\'s $5 😀 \n', encoding="utf-8")
    assert composed_prompts(config | {"prompts": str(path)}) == ['a "big" waltz', "it's $5 😀"]
    assert composed_prompts(config | {"prompts": ["a", "b"]}) == ["a", "b"]
    with pytest.raises(InputError, match=r"there is no file nowhere\.txt"):
        composed_prompts(config | {"prompts": "nowhere.txt"})
    with pytest.raises(InputError, match="nothing to compose"):
        composed_prompts(config | {"prompts": []})


def test_a_copy_of_ones_own_is_not_called_the_hubs_model(config):
    config["sources"]["models"]["llama-1b"] = {"hub": "meta-llama/Llama-3.2-1B", "revision": "4e20"}
    assert published_base(config, "llama-1b") == {"hub": "meta-llama/Llama-3.2-1B", "revision": "4e20"}
    config["sources"]["models"]["llama-1b"]["path"] = "/models/mine"
    assert published_base(config, "llama-1b") == {}
