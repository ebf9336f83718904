"""The systems, the sources and the code hash, for all rule files."""

import atexit
import json
import os
import re
import shlex
import sys

from libretto.provenance.code_hash import code_hash
from libretto.config.checks import EMBEDDING_MODELS
from libretto.provenance.rule_records import uses_standins
from libretto.failures import failures
from libretto.config.sources import (
    check_sources,
    config_key,
    download_entry,
    expected_sha256,
    missing_path_message,
    missing_paths,
    source_path,
)
from libretto.config.sweep import sweep_points, sweep_training
from libretto.config.systems import GROUND_TRUTH, RANDOM_TEXT, systems

os.environ.update(
    # `snakemake` may be called by its path, in no activated environment: `python` and `torchrun` are those beside it.
    PATH=os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", os.defpath)]),
    # Shell commands find the scripts here.
    LIBRETTO_SCRIPTS=os.path.join(LIBRARY_PATH, "scripts"),
    # Scripts and the processes that they start import the library from here.
    PYTHONPATH=os.pathsep.join(filter(None, [LIBRARY_PATH, os.environ.get("PYTHONPATH")])),
    # Only the download rules touch the network.
    HF_HUB_OFFLINE="1",
    # Compiled code of this very source: numba's own cache would not notice a change in an imported module.
    NUMBA_CACHE_DIR=os.path.abspath(
        os.path.join(".snakemake", "numba", code_hash(os.path.join(LIBRARY_PATH, "libretto", "tokens", "compiled.py")))
    ),
    # Hash seeds decide the order of sets: fixed, so that two runs give the same bytes.
    PYTHONHASHSEED="0",
)

if uses_standins(config):  # they are for the CPU, on any machine: the demo's table must be the same everywhere
    os.environ.update(CUDA_VISIBLE_DEVICES="")

SYSTEMS = checked(systems, config)
SAMPLED = [name for name, system in SYSTEMS.items() if system.is_sampled]
HEX_DIGITS = "0123456789abcdef"


def one_of(names):
    """The wildcard constraint that a value is one of `names`."""
    return "|".join(map(re.escape, names)) or "(?!)"  # of no names, nothing matches


wildcard_constraints:
    hex="[0-9a-f]",
    split="train|valid|test|background",
    variant=one_of(config["variants"]),
    system=one_of([*SYSTEMS, "background"]),
    model=one_of(config["sources"]["models"]),


def code(script):
    """The content hash of a script and of what it imports, for the `params` of its rule."""
    return code_hash(os.path.join(LIBRARY_PATH, "scripts", script))


def source(name):
    """A function for `input:`: the file or folder of a source, the config's own `path:` or what a download rule makes."""
    return lambda wildcards: source_path(config, name, "<run>/sources")


# Inputs and params that depend on the variant or the system.


def text_model(variant):
    """The config's name of the Llama whose tokenizer (and, for AMT, whose states) a variant uses."""
    settings = config["variants"][variant]
    return settings["text_encoder"] if settings["family"] == "amt" else settings["base"]


def training_models(wildcards):
    """The pretrained checkpoints that a variant's training reads."""
    settings = config["variants"][wildcards.variant]
    models = {"base": settings["base"], "text_model": text_model(wildcards.variant)}
    if settings.get("init") == "amt":
        models["init_from"] = settings["init_from"]
    return {role: source(name)(wildcards) for role, name in models.items()}


def variant_settings(variant):
    """What defines a variant's training, apart from files."""
    settings = {key: value for key, value in config["variants"][variant].items() if key != "temperatures"}
    text = {**text_settings(settings["family"]), "description_dropout": config["text"]["description_dropout"]}
    return {"variant": settings, "text": text, "seed": config["seed"]}


def sweep_settings(wildcards):
    """What defines one training of the search, apart from files."""
    point = sweep_points(config)[f"{wildcards.variant}/{wildcards.point}"]
    settings = variant_settings(point.variant)
    training = sweep_training(point, settings["variant"]["training"], config["sweep"])
    return json.dumps(settings | {"variant": settings["variant"] | {"training": training}}, sort_keys=True)


def sweep_files(suffix):
    """A function for `input:`, the file of every training of the search; only a search asks whether its config is right."""
    return lambda wildcards: [f"<run>/sweep/{name}.{suffix}" for name in checked(sweep_points, config)]


def text_settings(family):
    """What of the config's section `text` the prompts of a family are made with."""
    keys = ["max_tokens", *(["instruction", "instruction_without_description"] if family == "llama" else [])]
    return {key: config["text"][key] for key in keys}


def init_from_option(wildcards, input):
    """The option of train.py for the AMT checkpoint of `init: amt`."""
    return f"--init-from {shlex.quote(input.init_from)}" if "init_from" in input.keys() else ""


def result_options(wildcards, output):
    """The options of train.py for what it is to write: a search keeps no model."""
    return " ".join(f"--{name} {shlex.quote(path)}" for name, path in output.items())


def generating_models(wildcards):
    """The trained model of a system and the Llama that reads its text, or AMT as published."""
    variant = SYSTEMS[wildcards.system].variant
    if variant is None:
        return {"model": source(config["unconditional"]["base"])(wildcards)}
    return {"model": f"<run>/train/{variant}/model", "text_model": source(text_model(variant))(wildcards)}


def generating_settings(wildcards):
    """What of a variant's config its sampling reads; None where AMT as published is sampled, which reads no text."""
    variant = config["variants"].get(SYSTEMS[wildcards.system].variant)
    if variant is None:
        return None
    kind = {key: variant[key] for key in ("family", "text_states") if key in variant}
    return {"variant": kind, "text": text_settings(variant["family"])}


def audio_system(wildcards):
    """The system whose audio a system's scores hear: the same music with other descriptions is not rendered twice."""
    return GROUND_TRUTH if wildcards.system == RANDOM_TEXT else wildcards.system


def scored_files(wildcards):
    """What the scores of a system are computed from, beyond its samples: not every row of Table 3 has every score."""
    system, files = SYSTEMS[wildcards.system], {}
    if system.is_sampled:
        files["fad"] = "<run>/embeddings/{system}/fad.parquet"
        files["background"] = "<run>/embeddings/background/fad.parquet"
    if system.variant is not None:
        files["validation"] = f"<run>/metrics/validation/{system.variant}.json"
    if config["metrics"]["clap"]:
        files["clap"] = "<run>/embeddings/{system}/clap.parquet"
    return files


# Only a real run stops here: a dry run of the shipped config works without the token and before the soundfont is there.
onstart:
    checked(check_writable, f"results/{config['run']}")
    files = {file for job in workflow.dag.needrun_jobs() for file in [*job.input, *job.output]}
    checked(check_sources, config, f"results/{config['run']}/sources", files)


# What a user can do about it comes last, below what Snakemake itself prints about failed jobs.
onerror:
    if lines := failures(workflow.scheduler.failed, workflow.start_time):
        atexit.register(print, *lines, sep="\n", file=sys.stderr)
