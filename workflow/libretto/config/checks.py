"""The config against its schema: one line that says which key is wrong and what it may be; and its defaults."""

import copy
import difflib
import json
import math
import reprlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError, best_match
from jsonschema.validators import extend

from libretto.config.embeddings import EMBEDDINGS, measured_embeddings
from libretto.config.jobs import chunk_tokens
from libretto.config.sources import source_path
from libretto.errors import InputError

SCHEMA = Path(__file__).parents[2] / "schemas" / "config.schema.yaml"

# What each kind of further row may have beside its label.
ROW_KEYS = {
    "midi": [],
    "checkpoint": ["temperature", "sampling", "prompt_end"],
    "variant": ["temperature", "sampling"],
    "control": ["share"],
}

TYPES = {
    "array": "a list",
    "boolean": "true or false",
    "integer": "a whole number",
    "number": "a finite number",
    "object": "a section with keys of its own",
    "string": "text",
}


def _is_number(checker, value) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_integer(checker, value) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


# JSON Schema itself takes 4000.0 for an integer, which `range` does not, and leaves .inf and .nan open.
StrictValidator = extend(
    Draft202012Validator,
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine_many({"number": _is_number, "integer": _is_integer}),
)


def _set_defaults(validator, properties, instance, schema):
    for name, subschema in properties.items():
        if "default" in subschema:
            instance.setdefault(name, copy.deepcopy(subschema["default"]))
    return Draft202012Validator.VALIDATORS["properties"](validator, properties, instance, schema)


# As jsonschema's documentation has it.
FillingValidator = extend(StrictValidator, {"properties": _set_defaults})


@cache
def _schema() -> dict:
    return yaml.load(SCHEMA.read_text(), yaml.CSafeLoader)  # the loader in Python takes eight times as long


def check_files(paths: Iterable[str | Path]) -> None:
    """Check what Snakemake's own loading of config files misses: of two equal keys, YAML silently takes the last.

    Args:
        paths: of the config files, YAML or JSON.

    Raises:
        InputError: names the file, and the line where there is one.
    """
    for path in paths:
        try:  # tabs, which JSON may have between tokens, are not allowed there in YAML
            root = yaml.compose(Path(path).read_bytes().expandtabs(), yaml.SafeLoader)
        except yaml.YAMLError as error:
            raise InputError(f"{path} is not valid YAML: {' '.join(str(error).split())}; correct it there") from error
        if not isinstance(root, yaml.MappingNode):
            raise InputError(f"{path} has no keys at its top level; write lines such as `run: mine`")
        _check_repeated_keys(path, root)


def _check_repeated_keys(path: str | Path, root: yaml.Node) -> None:
    nodes, seen = [root], set()
    while nodes:
        node = nodes.pop()
        if id(node) in seen or isinstance(node, yaml.ScalarNode):
            continue
        seen.add(id(node))  # an alias stands for the node that it names
        if isinstance(node, yaml.SequenceNode):
            nodes += node.value
            continue
        lines: dict[str, int] = {}
        for key, value in node.value:
            name, line = str(key.value), key.start_mark.line + 1
            if name in lines:
                raise InputError(f"{path}, line {line}: the key {name!r} is in line {lines[name]} already; remove one")
            lines[name] = line
            nodes.append(value)


def check_config(config: dict) -> None:
    """Check that `config` is as the schema has it, and that its names refer to what it defines.

    Raises:
        InputError: naming the first key that is unknown, missing, of the wrong type, or refers to nothing.
    """
    errors = [*StrictValidator(_schema()).iter_errors(config)]
    # A mistyped key is often a required one too, or decides what is required: it comes first.
    if error := best_match([error for error in errors if error.validator == "additionalProperties"] or errors):
        where = ".".join(map(str, error.absolute_path)) or "the top level"
        raise InputError(f"config, {where}: {_explain(error)} (keys are described in workflow/schemas/{SCHEMA.name})")
    for name, row in config.get("systems", {}).items():
        kind = next(kind for kind in ROW_KEYS if kind in row)
        if idle := sorted(row.keys() - {kind, "label", *ROW_KEYS[kind]}):
            raise InputError(f"config, systems.{name}: {idle[0]} does nothing beside {kind}; remove it")
    models = config["sources"]["models"]
    used = {f"variants.{name}.{key}": variant.get(key) for name, variant in config["variants"].items() for key in
            ("base", "text_encoder", "init_from")}  # fmt: skip
    used |= {f"systems.{name}.checkpoint": row.get("checkpoint") for name, row in config.get("systems", {}).items()}
    used["unconditional.base"] = config.get("unconditional", {}).get("base")
    for key, model in used.items():
        if model is not None and model not in models:
            raise InputError(f"config, {key}: there is no sources.models.{model}; there are: {', '.join(models)}")


def fill_defaults(config: dict) -> None:
    """Give the keys that a checked `config` lacks the schema's defaults, in place.

    As `snakemake.utils.validate` does, which would read and check all a second time.
    """
    FillingValidator(_schema()).validate(config)


def check_consistency(config: dict) -> None:
    """Check that the values of `config`, defaults filled in, go together.

    Raises:
        InputError: names the conflict; otherwise the run fails days in.
    """
    data, sampling, metrics = config["data"], config["sampling"], config["metrics"]
    digits = "".join(data["splits"].values())
    if len(set(digits)) < len(digits):
        raise InputError("config, data.splits: a digit occurs twice; keep it in one split, once")
    bounds = {
        "sampling.n": (sampling["n"], "data.cuts.test", data["cuts"]["test"]),
        "sampling.max_new_tokens": (sampling["max_new_tokens"], "data.chunk_tokens", data["chunk_tokens"]),
        "metrics.fad_sub.size": (metrics["fad_sub"]["size"], "sampling.n", sampling["n"]),
    }
    for name, variant in config["variants"].items():
        key = f"variants.{name}.chunk_tokens" if "chunk_tokens" in variant else "data.chunk_tokens"
        rows = {f"variants.{name}": sampling | variant.get("sampling", {})}
        for row, entry in config["systems"].items():
            if entry.get("variant") == name:
                rows[f"systems.{row}"] = entry.get("sampling", {})
        for row, own in rows.items():
            bounds[f"{row}.sampling.max_new_tokens"] = own.get("max_new_tokens", 0), key, chunk_tokens(config, name)
    own = config["unconditional"].get("sampling", {}).get("max_new_tokens", 0)
    bounds["unconditional.sampling.max_new_tokens"] = own, "data.chunk_tokens", data["chunk_tokens"]
    for key, (value, bound, most) in bounds.items():
        if value > most:
            raise InputError(f"config, {key}: {value} is more than {bound}, {most}; lower it, or raise {bound}")
    for name, variant in config["variants"].items():
        if "adapter" in variant and variant["training"]["shard"]:
            raise InputError(f"config, variants.{name}: an adapter's training needs no shard: true; remove one of them")
    _check_stages(config["variants"])
    used = {model for name in measured_embeddings(config).values() for model in EMBEDDINGS[name].models}
    if missing := sorted(used - config["sources"]["models"].keys()):
        raise InputError(f"config, metrics: they need sources.models.{missing[0]}; give it, or measure without it")


def _check_stages(variants: dict) -> None:
    for name, variant in variants.items():
        key = f"config, variants.{name}"
        if variant.get("songs") == "unpaired" and variant.get("descriptions") == "shuffled":
            raise InputError(f"{key}.descriptions: unpaired songs have none; remove it")
        if variant.get("songs") == "unpaired" and "description_dropout" in variant:
            raise InputError(f"{key}.description_dropout: unpaired songs have no descriptions; remove it")
        stages = [name]
        while (start := variants[stages[-1]].get("start")) is not None:
            if start not in variants:
                raise InputError(f"{key}.start: there is no variant {start}; there are: {', '.join(variants)}")
            if start in stages:
                raise InputError(f"{key}.start: {' from '.join([*stages, start])} is a circle; start one from its base")
            stages.append(start)
        for other in stages[1:]:
            for same in ("family", "base", "text_encoder", "text_states"):
                if variant.get(same) != variants[other].get(same):
                    raise InputError(f"{key}.start: {other} has another {same}; give both the same")


def check_positions(config: dict) -> None:
    """Check that the Llama variants' bases have positions for a text and a chunk, where a base is there already.

    Raises:
        InputError: names the variant whose chunks are too long.
    """
    for name, variant in config["variants"].items():
        shape = Path(source_path(config, variant["base"], f"results/{config['run']}/sources"), "config.json")
        if variant["family"] == "llama" and shape.is_file():
            positions = json.loads(shape.read_text()).get("max_position_embeddings", math.inf)
            text, music = config["text"]["max_tokens"], chunk_tokens(config, name)
            if text + music > positions:
                raise InputError(
                    f"config, variants.{name}: {text} tokens of text and {music} of music are more than the "
                    f"{positions} positions of {variant['base']}; lower chunk_tokens"
                )


def drop_nulls(section: dict) -> None:
    """Remove the keys that are null, so that a config file can remove what an earlier one gives, such as a variant."""
    for key, value in list(section.items()):
        if value is None:
            del section[key]
        elif isinstance(value, dict):
            drop_nulls(value)


def sort_keys(section: dict, ordered: bool = False) -> None:
    """Put the keys of `section` into one order, whichever files they came from: Snakemake compares params as text.

    Args:
        section: of the config; nested sections are sorted too.
        ordered: whether its own order matters: that of the variants is the table's.
    """
    for key in list(section) if ordered else sorted(section):
        section[key] = value = section.pop(key)
        if isinstance(value, dict):
            sort_keys(value, ordered=key == "variants")


def _explain(error: ValidationError) -> str:
    """What is wrong and what to do, in one line."""
    value, shown, rule = error.instance, reprlib.repr(error.instance), error.validator_value
    match error.validator:
        case "additionalProperties":
            known = error.schema.get("properties", {})
            unknown = str(next(key for key in value if key not in known))
            near = difflib.get_close_matches(unknown, known, n=1)
            hint = f"do you mean '{near[0]}'?" if near else f"known: {', '.join(known)}"
            return f"unknown key {unknown!r}; {hint}"
        case "required":
            return f"'{next(key for key in rule if key not in value)}' is missing; add it"
        case "dependentRequired":
            pairs = ((key, other) for key in rule if key in value for other in rule[key] if other not in value)
            return "'{}' needs '{}' beside it; add it".format(*next(pairs))
        case "oneOf" if "title" in error.schema:
            return error.schema["title"]
        case "pattern":
            return f"{shown} is not {error.schema['title']}"
        case "not" if rule:
            return f"the name {shown} is taken; choose another"
        case "not":
            return "this key does not go with the variant's family, init, start or freeze; remove it"
        case "type" if rule == "string" and not isinstance(value, (dict, list)):
            return f"{shown} is not text (YAML reads 1 as a number, no as false); write it in quotes, or choose another"
        case "type":
            plain = _plain(value, rule)
            if plain and isinstance(value, str):
                return f"{shown} is text to YAML; write {plain} without quotes, in a file (--config nests only text)"
            return f"{shown} is not {TYPES[rule]}" + (f"; write {plain}" if plain else "")
    return error.message


def _plain(value, rule: str) -> str | None:
    """How to write, in YAML 1.1, a value that it read as another type: 1e-3 is text to it, 6.0e+4 not an integer."""
    if rule == "boolean" and value in ("true", "false"):
        return value
    if rule not in ("integer", "number") or not isinstance(value, (str, float)):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    if number.is_integer() and (rule == "integer" or "e" not in str(value).lower()):
        return str(int(number))
    if rule == "integer" or not math.isfinite(number):
        return None
    mantissa, _, exponent = str(value).lower().partition("e")
    return f"{float(mantissa)}e{int(exponent):+d}" if exponent else str(number)
