"""The systems: the rows of the paper's Table 3, from the config alone."""

import pytest

from libretto.config.systems import FAD_REFERENCE, systems
from libretto.errors import InputError

# Table 3 of the paper: name in files, group, label.
TABLE_3 = [
    ("ground-truth", "Baselines", "Ground truth"),
    ("ground-truth-random-text", "Baselines", "Ground truth (random text)"),
    ("amt-unconditional-t1.0", "Baselines", "AMT-Large (unconditional)"),
    ("amt-t1.0", "AMT-Large + text cond", "w/o weighted Llama states"),
    ("amt-weighted-t1.0", "AMT-Large + text cond", "w/ weighted Llama states"),
    ("llama-1b-t1.0", "Llama LLMs", "1B w/o AMT embed init"),
    ("llama-1b-t1.1", "Llama LLMs", "1B w/o AMT embed init"),
    ("llama-3b-t1.0", "Llama LLMs", "3B w/o AMT embed init"),
    ("llama-3b-t1.1", "Llama LLMs", "3B w/o AMT embed init"),
    ("llama-3b-amt-t1.0", "Llama LLMs", "3B w/ AMT embed init"),
    ("llama-3b-amt-t1.1", "Llama LLMs", "3B w/ AMT embed init"),
]


def test_the_eleven_rows_of_table_3(config):
    assert [(system.name, system.group, system.label) for system in systems(config).values()] == TABLE_3


def test_what_is_sampled(config):
    sampled = {name: system.temperature for name, system in systems(config).items() if system.is_sampled}
    assert set(sampled) == {name for name, *_ in TABLE_3[2:]}
    assert all(name.endswith(f"-t{temperature}") for name, temperature in sampled.items())


def test_the_random_text_row_alone_sounds_like_another(config):
    heard = {name: system.heard_as for name, system in systems(config).items()}
    assert heard.pop("ground-truth-random-text") == "ground-truth"
    assert all(name == audio for name, audio in heard.items())


def test_fads_reference_set_is_no_row_and_has_songs_of_its_own(config):
    rows = systems(config)
    assert FAD_REFERENCE.name not in rows
    assert (FAD_REFERENCE.split, FAD_REFERENCE.heard_as) == ("background", "background")  # as the files are called
    assert not FAD_REFERENCE.is_sampled
    assert {system.split for system in rows.values()} == {"test"}


def test_variants_stand_in_their_familys_group_whatever_the_configs_order(config):
    config["variants"] = dict(reversed(config["variants"].items()))
    groups = [system.group for system in systems(config).values()]
    assert groups == [group for _, group, _ in TABLE_3]


def test_a_temperature_more_is_a_row_more(config):
    config["variants"]["llama-1b"]["temperatures"].append(1.25)
    names = list(systems(config))
    assert names[5:8] == ["llama-1b-t1.0", "llama-1b-t1.1", "llama-1b-t1.25"]
    assert len(names) == 12


def test_a_variant_more_is_its_rows_more(config):
    config["variants"]["llama-1b-amt"] = config["variants"]["llama-1b"] | {"init": "amt", "init_from": "amt-large"}
    rows = systems(config)
    assert list(rows)[-2:] == ["llama-1b-amt-t1.0", "llama-1b-amt-t1.1"]
    assert rows["llama-1b-amt-t1.0"].label == "1B w/ AMT embed init"


def test_a_length_of_its_own_stands_in_a_variants_label(config):
    for length, label in {1024: "1B w/o AMT embed init", 4096: "1B w/o AMT embed init, chunks of 4,096 tokens"}.items():
        config["variants"]["llama-1b"]["chunk_tokens"] = length
        assert systems(config)["llama-1b-t1.0"].label == label


def test_what_a_variant_reads_in_training_stands_in_its_label(config):
    config["variants"]["amt"] |= {"chunks": "random", "description_dropout": 0.125}
    label = systems(config)["amt-t1.0"].label
    assert label == "w/o weighted Llama states, chunks at random, 12.5 % of descriptions dropped"


def test_stages_stand_in_the_labels(config):
    config["variants"]["llama-1b"]["songs"] = "unpaired"
    config["variants"]["second"] = {"family": "llama", "base": "llama-1b", "start": "llama-1b", "temperatures": [1.0]}
    rows = systems(config)
    assert rows["llama-1b-t1.0"].label == "1B w/o AMT embed init, music without text"
    assert rows["second-t1.0"].label == "1B, from llama-1b"


def test_variants_with_the_same_label_are_told_apart_by_their_names(config):
    config["variants"]["llama-1b-b16"] = config["variants"]["llama-1b"]
    labels = {row.variant: row.label for row in systems(config).values() if row.variant}
    assert labels["llama-1b"] == "1B w/o AMT embed init (llama-1b)"
    assert labels["llama-1b-b16"] == "1B w/o AMT embed init (llama-1b-b16)"
    assert labels["llama-3b"] == "3B w/o AMT embed init"


def test_a_whole_temperature_is_named_like_any_other(config):
    config["variants"]["amt"]["temperatures"] = [1]
    assert "amt-t1.0" in systems(config)


def test_two_systems_of_one_name_are_refused(config):
    config["variants"]["amt"]["temperatures"] = [1, 1.0]
    with pytest.raises(InputError, match=r"the same name: amt-t1\.0 .*temperature once"):
        systems(config)


def test_no_row_takes_the_place_of_fads_reference_set(config):
    config["systems"] = {"background": {"control": "constant-band"}}
    with pytest.raises(InputError, match="background"):
        systems(config)
