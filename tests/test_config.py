"""The config and its schema: what is refused, with which message, and that the schema explains every key."""

import contextlib
import copy
import json
import re

import pytest
import yaml
from snakemake.utils import validate

from libretto.config.checks import (
    SCHEMA,
    check_config,
    check_consistency,
    check_files,
    check_positions,
    drop_nulls,
    fill_defaults,
    sort_keys,
)
from libretto.config.embeddings import EMBEDDINGS, PAPER_EMBEDDING
from libretto.errors import InputError
from tests.checkout import ROOT


def change(config, key, value):
    *sections, last = key.split(".")
    for section in sections:
        config = config[section]
    config[last] = value


def merge(base, update):
    """As Snakemake merges several config files."""
    merged = dict(base)
    for key, value in update.items():
        merged[key] = merge(base[key], value) if isinstance(value, dict) and isinstance(base.get(key), dict) else value
    return merged


def test_shipped_config_is_valid(config):
    check_config(config)


def test_demo_is_valid(config):
    check_config(merge(config, yaml.safe_load((ROOT / "demo" / "experiment.yaml").read_text())))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("samplign", {}, r"config, the top level: unknown key 'samplign'; do you mean 'sampling'\?"),
        ("sampling.topp", 0.9, r"config, sampling: unknown key 'topp'; do you mean 'top_p'\?"),
        ("variants.amt.training.lr", 1e-4, r"config, variants\.amt\.training: unknown key 'lr'"),
        ("sources.lmd.md5", "0", r"config, sources\.lmd: unknown key 'md5'"),
        ("sources.models.llama-1b.token", "hf_x", r"config, sources\.models\.llama-1b: unknown key 'token'"),
        ("sampling.top_p", 1.5, r"config, sampling\.top_p: 1\.5 is greater than the maximum of 1"),
        ("sampling.n", "many", r"config, sampling\.n: 'many' is not a whole number \("),
        ("metrics.fad_embedding", "clap2", r"config, metrics\.fad_embedding: 'clap2' is not one of \['vggish'"),
        ("variants.amt.init", "amt", r"config, variants\.amt\.init: this key does not go with the variant's family"),
        ("variants.llama-3b.init", "amt", r"config, variants\.llama-3b: 'init_from' is missing; add it"),
        ("variants.amt.base", "amt-huge", r"config, variants\.amt\.base: there is no sources\.models\.amt-huge"),
        ("unconditional.base", "amt-huge", r"config, unconditional\.base: there is no sources\.models\.amt-huge"),
        ("sources.lmd", {"url": "https://a.org/lmd"}, r"config, sources\.lmd: 'url' needs 'sha256' beside it; add it"),
        ("sources.models.clap", {"hub": "a/b"}, r"config, sources\.models\.clap: 'hub' needs 'revision'"),
        (
            "variants.amt.training.learning_rate",
            "1e-3",
            r"learning_rate: '1e-3' is text to YAML; write 1\.0e-3 without quotes",
        ),
        (
            "variants.amt.training.learning_rate",
            "2.5E5",
            r"learning_rate: '2\.5E5' is text to YAML; write 2\.5e\+5 without",
        ),
        ("variants.amt.training.learning_rate", float("nan"), r"learning_rate: nan is not a finite number"),
        ("variants.amt.training.max_steps", "6e4", r"max_steps: '6e4' is text to YAML; write 60000 without quotes"),
        (
            "sampling.n",
            "900",
            r"sampling\.n: '900' is text to YAML; write 900 without quotes, in a file ",
        ),
        ("metrics.clap", "false", r"metrics\.clap: 'false' is text to YAML; write false without quotes, in a file"),
        ("variants.amt.training.max_steps", 6.0e4, r"max_steps: 60000\.0 is not a whole number; write 60000 "),
        (
            "unconditional.temperatures",
            [1e-9],
            r"unconditional\.temperatures\.0: 1e-09 is less than the minimum of 0\.01",
        ),
        ("unconditional.temperatures", [float("inf")], r"unconditional\.temperatures\.0: inf is not a finite number"),
        ("data.chunk_tokens", 6, r"data\.chunk_tokens: 6 is less than the minimum of 7"),  # the start, a single event
        ("sampling.max_new_tokens", 2, r"sampling\.max_new_tokens: 2 is less than the minimum of 3"),
        (
            "variants.amt.chunk_tokens",
            512,
            r"variants\.amt\.chunk_tokens: this key does not go with the variant's family",
        ),
        ("variants.llama-1b.chunk_tokens", 6, r"llama-1b\.chunk_tokens: 6 is less than the minimum of 7"),
        (
            "variants.llama-1b.start",
            "llama-3b",
            r"llama-1b\.init: this key does not go with the variant's family, init, start or freeze",
        ),
        ("sampling", [16], r"config, sampling: \[16\] is not a section with keys of its own"),
        (
            "sources.lmd.path",
            "music/{x}.tar.gz",
            r"sources\.lmd\.path: 'music/{x}\.tar\.gz' is not a path that .* without braces",
        ),
        ("sources.lmd.path", "<run>/lmd.tar.gz", r"sources\.lmd\.path: '<run>/lmd\.tar\.gz' is not a path that"),
        ("sources.lmd.path", "lmd.tar.gz\n", r"sources\.lmd\.path: 'lmd\.tar\.gz\\n' is not a path that"),
        (
            "sources.lmd.sha256",
            "0" * 64 + "\n",
            r"sources\.lmd\.sha256: '0+\.\.\.0+\\n' is not a SHA-256 of 64 hex digits",
        ),
        ("data.splits.valid", "e\n", r"data\.splits\.valid: 'e\\n' is not hex digits in lower case"),
        ("run", "standins", r"config, run: the name 'standins' is taken; choose another"),
        ("systems", {"a": {}}, r"config, systems.a: give one of midi, checkpoint, variant and control"),
        ("systems", {"a": {"midi": "x", "control": "training-copy"}}, r"systems.a: give one of midi, checkpoint"),
        ("systems", {"a": {"midi": "x", "share": 0.5}}, r"systems.a: share does nothing beside midi; remove it"),
        (
            "sources.test_prompts",
            {"path": "a.txt"},
            r"'a\.txt' is not the path of a \.csv or \.parquet file",
        ),
        ("sources.models.lmd", {"path": "x"}, r"config, sources\.models: the name 'lmd' is taken; choose another"),
    ],
)
def test_what_is_refused(config, key, value, message):
    change(config, key, value)
    with pytest.raises(InputError, match=message) as error:
        check_config(config)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["1e-3", "1e5", "-3E2", ".5e3", "5.e-2", "2e+4", "900", "0.25", "1.5e-3"])
def test_the_number_that_a_message_says_to_write_is_read_as_that_number(config, text):
    change(config, "audio.trim_db", text)
    with pytest.raises(InputError, match=r"audio\.trim_db") as error:
        check_config(config)
    assert yaml.safe_load(re.search(r"write (\S+) without quotes", str(error.value))[1]) == float(text)


# How each reads as a key or a value in YAML 1.1, and what a file system or a regular expression would make of it.
BAD_NAMES = {
    "../../../elsewhere": r"'\.\./\.\./\.\./elsewhere' is not a name: 1 to 64 letters",
    "..": r"'\.\.' is not a name",
    "(": r"'\(' is not a name",
    "-rf": r"'-rf' is not a name",
    "amt\n": r"'amt\\n' is not a name",
    "a b; rm": r"'a b; rm' is not a name",
    "é": r"'é' is not a name",
    "": r"'' is not a name",
    "a" * 300: r"'a+\.\.\.a+' is not a name: 1 to 64 letters",
    "1": r"1 is not text .*; write it in quotes",
    "no": r"False is not text \(YAML reads 1 as a number, no as false\); write it in quotes",
}


@pytest.mark.parametrize("name", BAD_NAMES, ids=lambda name: repr(name[:20]))
@pytest.mark.parametrize("place", ["run", "variants", "sources.models"])
def test_bad_names_are_refused(config, place, name):
    written = name if name in ("1", "no") else json.dumps(name)
    section = config
    for key in place.split(".")[:-1]:
        section = section[key]
    last = place.rpartition(".")[2]
    if place == "run":
        section[last] = yaml.safe_load(written)
    else:
        section[last] |= yaml.safe_load(f"? {written}\n: {json.dumps(next(iter(section[last].values())))}")
    with pytest.raises(InputError, match=rf"config, {place}: {BAD_NAMES[name]}") as error:
        check_config(config)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("name", ["1", "no", "Llama-3.2_1B", "a" * 64])
def test_good_names_are_not(config, name):
    config["run"] = name
    config["variants"][name] = config["variants"]["amt"]
    config["sources"]["models"][name] = {"path": "x"}
    check_config(config)


@pytest.mark.parametrize("name", ["amt", "llama-3b-amt"])
def test_a_mistyped_key_of_a_variant_is_what_the_message_is_about(config, name):
    for key in list(config["variants"][name]):
        with_typo = copy.deepcopy(config)
        variant = with_typo["variants"][name]
        typo = key[:-2] + key[-1]  # as in `famiy`
        variant[typo] = variant.pop(key)
        message = rf"config, variants\.{name}: unknown key '{typo}'; do you mean '{key}'\?"
        with pytest.raises(InputError, match=message):
            check_config(with_typo)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("run: a\nsampling:\n  n: 9\n  top_p: 0.9\n  n: 8\n", r"more\.yaml, line 5: the key 'n' is in line 3 already"),
        ("sampling: {n: 9}\nseed: 0\nsampling: {top_k: 0}\n", r"more\.yaml, line 3: the key 'sampling' is in line 1"),
        ('{\n\t"seed": 0,\n\t"seed": 1\n}\n', r"more\.yaml, line 3: the key 'seed' is in line 2 already; remove one"),
        ("rows: [{a: 1}, {b: 1, b: 1}]\n", r"more\.yaml, line 1: the key 'b' is in line 1 already"),
        ("", r"more\.yaml has no keys at its top level; write lines such as `run: mine`"),
        ("# seed: 1\n", r"more\.yaml has no keys at its top level"),
        ("- run: a\n- seed: 0\n", r"more\.yaml has no keys at its top level"),
        ("run: [a\n", r"more\.yaml is not valid YAML: while parsing .* line 2, column 1"),
        ("run: \0", r"more\.yaml is not valid YAML: unacceptable character"),
    ],
)
def test_config_files_that_yaml_lets_pass_are_refused(tmp_path, text, message):
    path = tmp_path / "more.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as error:
        check_files([path])
    assert len(str(error.value).splitlines()) == 1


def test_equal_keys_of_different_sections_and_aliases_pass(tmp_path):
    path = tmp_path / "more.yaml"
    path.write_text("a: &a {n: 1, m: 1}\nb: *a\nc: {<<: *a, n: 2}\nn: [{n: 1}, {n: 1}]\n")
    check_files([path, ROOT / "config.yaml", ROOT / "demo" / "experiment.yaml"])


@pytest.mark.parametrize("more", ["config.yaml", "demo/experiment.yaml", "study/experiment.yaml"])
def test_defaults_are_those_that_snakemake_fills_in(config, more):
    given = merge(config, yaml.safe_load((ROOT / more).read_text()))
    drop_nulls(given)
    ours, snakemakes = copy.deepcopy(given), copy.deepcopy(given)
    fill_defaults(ours)
    validate(snakemakes, SCHEMA)
    assert ours == snakemakes != given
    ours["sampling"]["constraint"] = "changed"
    ours["data"]["splits"]["train"] = "changed"
    again = copy.deepcopy(given)
    fill_defaults(again)
    assert again == snakemakes, "a default that one config changes is the next one's too"


def test_defaults_are_the_papers_figures(config):
    """The shipped config and the schema's defaults agree."""
    small = {key: config[key] for key in ("run", "sources", "variants")}
    fill_defaults(small)
    for section in ("seed", "data", "text", "unconditional", "sampling", "audio", "metrics"):
        assert {section: small[section]} == {section: merge(small, config)[section]}


def test_the_schema_knows_every_embedding():
    entry = yaml.safe_load(SCHEMA.read_text())["properties"]["metrics"]["properties"]["fad_embedding"]
    assert entry["enum"] == [name for name, embedding in EMBEDDINGS.items() if embedding.of_audio]
    assert entry["default"] == PAPER_EMBEDDING


def described(schema, definitions, path=""):
    """Every property of the schema: its path, whether it may be left out, and the property itself."""
    for name, entry in schema.get("properties", {}).items():
        entry = definitions[entry["$ref"].rpartition("/")[2]] | entry if "$ref" in entry else entry
        if entry != {"not": {}}:
            yield f"{path}{name}", name not in schema.get("required", ()), entry
            yield from described(entry, definitions, f"{path}{name}.")


def nested(section):
    """A section and all sections in it."""
    if isinstance(section, dict):
        yield section
        for value in section.values():
            yield from nested(value)


def test_every_key_is_described():
    schema = yaml.safe_load(SCHEMA.read_text())
    definitions = schema["$defs"]
    keys = [*described(schema, definitions)]
    for name, definition in definitions.items():
        keys += described(definition, definitions, f"({name}) ")
    assert len(keys) > 60
    assert not [key for key, _, entry in keys if not entry.get("description")]
    assert not [key for key, _, entry in keys if entry.get("type") == "object" and "additionalProperties" not in entry]
    patterns = [entry for entry in nested(schema) if isinstance(entry.get("pattern"), str)]
    assert len(patterns) > 5
    assert not [entry for entry in patterns if not entry.get("title") or not entry["pattern"].endswith(r"\Z")]
    others = ("sources", "(", "unconditional.sampling")  # the last one's are those of `sampling`
    optional = [(key, entry) for key, optional, entry in keys if optional and not key.startswith(others)]
    assert not [key for key, entry in optional if "default" not in entry]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("sampling.n", 2000, r"sampling\.n: 2000 is more than data\.cuts\.test, 1000"),
        ("sampling.max_new_tokens", 2048, r"sampling\.max_new_tokens: 2048 is more than data\.chunk_tokens, 1024"),
        (
            "variants.llama-1b.chunk_tokens",
            512,
            r"variants\.llama-1b\.sampling\.max_new_tokens: 1024 is more than variants\.llama-1b\.chunk_tokens, 512",
        ),
        (
            "variants.amt.sampling",
            {"max_new_tokens": 2048},
            r"variants\.amt\.sampling\.max_new.* than data\.chunk_tokens",
        ),
        (
            "systems",
            {"long": {"variant": "llama-1b", "sampling": {"max_new_tokens": 2048}}},
            r"config, systems\.long\.sampling\.max_new_tokens: 2048 is more than data\.chunk_tokens, 1024",
        ),
        ("metrics.fad_sub.size", 1001, r"metrics\.fad_sub\.size: 1001 is more than sampling\.n, 1000"),
        ("data.splits.valid", "ef", r"data\.splits: a digit occurs twice"),
        ("sources.models", {}, r"they need sources\.models\.clap"),
        ("metrics.fmd", True, r"they need sources\.models\.clamp2; give it, or measure without it"),
        (
            "variants.llama-1b",
            {"family": "llama", "adapter": {}, "training": {"shard": True}},
            r"variants\.llama-1b: an adapter's training needs no shard: true",
        ),
    ],
)
def test_values_that_do_not_go_together_are_refused(config, key, value, message):
    check_consistency(config)
    change(config, key, value)
    with pytest.raises(InputError, match=message):
        check_consistency(config)


STAGES = {
    "circle": ({"amt": {"start": "amt-weighted"}, "amt-weighted": {"start": "amt"}}, r"amt from amt-weighted from amt"),
    "itself": ({"amt": {"start": "amt"}}, r"variants\.amt\.start: amt from amt is a circle; start one from its base"),
    "unknown": ({"amt": {"start": "music"}}, r"variants\.amt\.start: there is no variant music; there are: amt, amt-w"),
    "family": ({"amt": {"start": "llama-1b"}}, r"variants\.amt\.start: llama-1b has another family; give both"),
    "base": ({"llama-1b": {"start": "llama-3b"}}, r"variants\.llama-1b\.start: llama-3b has another base"),
    "states": ({"amt": {"start": "amt-weighted"}}, r"variants\.amt\.start: amt-weighted has another text_states"),
    "text": ({"amt": {"songs": "unpaired", "descriptions": "shuffled"}}, r"amt\.descriptions: unpaired songs have"),
    "share": ({"amt": {"songs": "unpaired", "description_dropout": 0.0}}, r"amt\.description_dropout: unpaired songs"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "message"), STAGES.values(), ids=STAGES)
def test_stages_that_cannot_follow_each_other_are_refused(config, change, message):
    with pytest.raises(InputError, match=message):
        check_consistency(merge(config, {"variants": change}))


def test_a_frozen_base_has_no_adapter(config):
    config["variants"]["llama-1b"] |= {"freeze": "base", "adapter": {"rank": 4}}
    with pytest.raises(
        InputError, match=r"llama-1b\.adapter: this key does not go with the variant's .* freeze; remove"
    ):
        check_config(config)
    del config["variants"]["llama-1b"]["adapter"]
    check_config(config)


def test_a_variant_that_starts_from_another_needs_no_init(config):
    variant = config["variants"]["llama-1b"]
    config["variants"]["second"] = {key: value for key, value in variant.items() if key != "init"} | {
        "start": "llama-1b"
    }
    check_config(config)
    check_consistency(config)


def test_a_longer_row_of_a_variant_with_longer_chunks_is_not_refused(config):
    config["variants"]["llama-1b"]["chunk_tokens"] = 4096
    config["systems"] = {"long": {"variant": "llama-1b", "sampling": {"max_new_tokens": 4096}}}
    check_consistency(config)


@pytest.mark.parametrize(("chunk_tokens", "fits"), [(256, True), (257, False)])
def test_a_base_without_positions_for_text_and_chunk_is_refused(config, llama_folder, chunk_tokens, fits):
    config["variants"]["llama-1b"]["chunk_tokens"] = chunk_tokens
    check_positions(config)  # the base is not there yet
    config["sources"]["models"]["llama-1b"] = {"path": llama_folder}  # with 512, and 256 are the text's
    with (
        contextlib.nullcontext()
        if fits
        else pytest.raises(
            InputError,
            match=r"variants\.llama-1b: 256 tokens of text and 257 of music are more than the 512 positions",
        )
    ):
        check_positions(config)


def test_the_order_of_keys_does_not_matter_but_that_of_the_rows():
    one, other = {"b": {"y": 1, "x": [2]}, "a": 0}, {"a": 0, "b": {"x": [2], "y": 1}}
    sort_keys(one)
    sort_keys(other)
    assert repr(one) == repr(other) == "{'a': 0, 'b': {'x': [2], 'y': 1}}"
    rows = {"variants": {"z": {"base": 0, "b": 0}, "a": {}}, "sources": {}}
    sort_keys(rows)
    assert repr(rows) == "{'sources': {}, 'variants': {'z': {'b': 0, 'base': 0}, 'a': {}}}"


def test_a_null_takes_a_key_out(config):
    changed = merge(config, {"variants": {"amt": None}, "sources": {"lmd": {"url": None, "path": "lmd.tar.gz"}}})
    drop_nulls(changed)
    assert "amt" not in changed["variants"]
    assert "url" not in changed["sources"]["lmd"]
    check_config(changed)
    drop_nulls(config)
    assert config["variants"].keys() - changed["variants"].keys() == {"amt"}


def test_a_variant_of_the_least_keys_gets_the_defaults(config):
    variant = {"family": "llama", "base": "llama-1b", "init": "gaussian"}
    variant["training"] = {"batch_size": 8, "learning_rate": 1e-4, "max_steps": 9}
    least = {key: config[key] for key in ("run", "sources")} | {"variants": {"mine": variant}}
    check_config(least)
    fill_defaults(least)
    assert least["variants"]["mine"]["temperatures"] == [1.0]
    assert least["variants"]["mine"]["training"]["precision"] == "bf16"
    assert least["variants"]["mine"]["training"]["gradient_checkpointing"] is False
    assert least["unconditional"]["temperatures"] == [1.0]
    check_consistency(least)
