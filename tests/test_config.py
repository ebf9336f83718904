"""The config and its schema: what is refused, in which words, and that the schema explains every key."""

import copy

import pytest
import yaml
from snakemake.utils import validate

from libretto.config import SCHEMA, check_config, check_consistency, drop_nulls, sort_keys
from libretto.errors import InputError
from tests.checkout import ROOT


@pytest.fixture(scope="module")
def shipped():
    return yaml.safe_load((ROOT / "config.yaml").read_text())


@pytest.fixture
def config(shipped):
    return copy.deepcopy(shipped)


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
        ("sampling.n", "many", r"config, sampling\.n: 'many' is not of type 'integer'"),
        ("metrics.fad_embedding", "clap2", r"config, metrics\.fad_embedding: 'clap2' is not one of \['vggish'"),
        ("variants.amt.init", "amt", r"config, variants\.amt\.init: this key does not go with the variant's family"),
        ("variants.llama-3b.init", "amt", r"config, variants\.llama-3b: 'init_from' is a required property"),
        ("variants.amt.base", "amt-huge", r"config, variants\.amt\.base: there is no sources\.models\.amt-huge"),
        ("unconditional.base", "amt-huge", r"config, unconditional\.base: there is no sources\.models\.amt-huge"),
        ("sources.lmd", {"url": "https://a.org/lmd"}, r"config, sources\.lmd: 'sha256' is a dependency of 'url'"),
        ("sources.models.clap", {"hub": "a/b"}, r"config, sources\.models\.clap: 'revision' is a dependency of 'hub'"),
        ("run", "../elsewhere", r"config, run: '../elsewhere' does not match"),
    ],
)
def test_what_is_refused(config, key, value, message):
    change(config, key, value)
    with pytest.raises(InputError, match=message) as error:
        check_config(config)
    assert "\n" not in str(error.value)


def test_defaults_are_the_reports_figures(config):
    """What the shipped config says and the schema defaults to is one and the same."""
    small = {key: config[key] for key in ("run", "sources", "variants")}
    validate(small, SCHEMA)
    for section in ("seed", "data", "text", "unconditional", "sampling", "audio", "metrics"):
        assert {section: small[section]} == {section: merge(small, config)[section]}


def described(schema, definitions, path=""):
    """Every property of the schema: its path, whether it may be left out, and the property itself."""
    for name, entry in schema.get("properties", {}).items():
        entry = definitions[entry["$ref"].rpartition("/")[2]] | entry if "$ref" in entry else entry
        if entry != {"not": {}}:
            yield f"{path}{name}", name not in schema.get("required", ()), entry
            yield from described(entry, definitions, f"{path}{name}.")


def test_every_key_is_described():
    schema = yaml.safe_load(SCHEMA.read_text())
    definitions = schema["$defs"]
    keys = [*described(schema, definitions)]
    for name, definition in definitions.items():
        keys += described(definition, definitions, f"({name}) ")
    assert len(keys) > 60
    assert not [key for key, _, entry in keys if not entry.get("description")]
    assert not [key for key, _, entry in keys if entry.get("type") == "object" and "additionalProperties" not in entry]
    optional = [(key, entry) for key, optional, entry in keys if optional and not key.startswith(("sources", "("))]
    assert not [key for key, entry in optional if "default" not in entry]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("sampling.n", 2000, r"sampling\.n: 2000 is more than data\.cuts\.test, 1000"),
        ("sampling.max_new_tokens", 2048, r"sampling\.max_new_tokens: 2048 is more than data\.chunk_tokens, 1024"),
        ("metrics.fad_sub.size", 1001, r"metrics\.fad_sub\.size: 1001 is more than sampling\.n, 1000"),
        ("data.splits.valid", "ef", r"data\.splits: a digit stands twice"),
        ("sources.models", {}, r"they need sources\.models\.clap"),
    ],
)
def test_values_that_do_not_go_together_are_refused(config, key, value, message):
    check_consistency(config)
    change(config, key, value)
    with pytest.raises(InputError, match=message):
        check_consistency(config)


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
    validate(least, SCHEMA)
    assert least["variants"]["mine"]["temperatures"] == [1.0]
    assert least["variants"]["mine"]["training"]["precision"] == "bf16"
    assert least["variants"]["mine"]["training"]["gradient_checkpointing"] is False
    assert least["unconditional"]["temperatures"] == [1.0]
    check_consistency(least)
