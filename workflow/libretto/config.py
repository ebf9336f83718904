"""The config against its schema: one line that says which key is wrong and what it may be."""

import difflib
from pathlib import Path

import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from libretto.errors import InputError

# The models that each embedding of audio is made of, by their names under sources.models.
EMBEDDING_MODELS = {"vggish": ["vggish"], "clap": ["clap", "roberta-base"], "logmel": []}

SCHEMA = Path(__file__).parents[1] / "schemas" / "config.schema.yaml"


def check_config(config: dict) -> None:
    """Check that `config` is as the schema has it, and that its names refer to what it defines.

    Raises:
        InputError: naming the first key that is unknown, missing, of the wrong type, or refers to nothing.
    """
    schema = yaml.safe_load(SCHEMA.read_text())
    if error := best_match(Draft202012Validator(schema).iter_errors(config)):
        where = ".".join(map(str, error.absolute_path)) or "the top level"
        raise InputError(f"config, {where}: {_explain(error)} (keys are described in workflow/schemas/{SCHEMA.name})")
    models = config["sources"]["models"]
    used = {f"variants.{name}.{key}": variant.get(key) for name, variant in config["variants"].items() for key in
            ("base", "text_encoder", "init_from")}  # fmt: skip
    used["unconditional.base"] = config.get("unconditional", {}).get("base")
    for key, model in used.items():
        if model is not None and model not in models:
            raise InputError(f"config, {key}: there is no sources.models.{model}; there are: {', '.join(models)}")


def check_consistency(config: dict) -> None:
    """Check that the values of `config`, defaults filled in, go together.

    Raises:
        InputError: naming what does not, which else would show hours or days later.
    """
    data, sampling, metrics = config["data"], config["sampling"], config["metrics"]
    digits = "".join(data["splits"].values())
    if len(set(digits)) < len(digits):
        raise InputError("config, data.splits: a digit stands twice; leave it in one split, once")
    bounds = {
        "sampling.n": (sampling["n"], "data.cuts.test", data["cuts"]["test"]),
        "sampling.max_new_tokens": (sampling["max_new_tokens"], "data.chunk_tokens", data["chunk_tokens"]),
        "metrics.fad_sub.size": (metrics["fad_sub"]["size"], "sampling.n", sampling["n"]),
    }
    for key, (value, bound, most) in bounds.items():
        if value > most:
            raise InputError(f"config, {key}: {value} is more than {bound}, {most}; lower it, or raise {bound}")
    used = {*EMBEDDING_MODELS[metrics["fad_embedding"]], *(EMBEDDING_MODELS["clap"] if metrics["clap"] else [])}
    if missing := sorted(used - config["sources"]["models"].keys()):
        raise InputError(f"config, metrics: they need sources.models.{missing[0]}; give it, or measure without it")


def drop_nulls(section: dict) -> None:
    """Take out the keys that are null: so a config file can remove what the one below it gives, such as a variant."""
    for key, value in list(section.items()):
        if value is None:
            del section[key]
        elif isinstance(value, dict):
            drop_nulls(value)


def sort_keys(section: dict, ordered: bool = False) -> None:
    """Put the keys of `section` into one order, whichever files they came from: Snakemake compares params as text.

    Args:
        section: of the config; those within are sorted too.
        ordered: its own order means something: that of the variants is the table's.
    """
    for key in list(section) if ordered else sorted(section):
        section[key] = value = section.pop(key)
        if isinstance(value, dict):
            sort_keys(value, ordered=key == "variants")


def _explain(error) -> str:
    """What is wrong, and for a mistyped key the nearest right one."""
    if error.validator == "additionalProperties" and isinstance(error.instance, dict):
        known = error.schema.get("properties", {})
        unknown = [key for key in error.instance if key not in known]
        near = difflib.get_close_matches(unknown[0], known, n=1)
        return f"unknown key '{unknown[0]}'" + (
            f"; do you mean '{near[0]}'?" if near else f"; known: {', '.join(known)}"
        )
    if error.validator == "not":
        return "this key does not go with the variant's family or init; remove it"
    return error.message
