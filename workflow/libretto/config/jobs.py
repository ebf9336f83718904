"""What trainings, generations and scores depend on: params and inputs of their rules, from the config alone."""

import os
import shlex
from collections.abc import Mapping

from libretto.config.embeddings import EMBEDDINGS, measured_embeddings
from libretto.config.sources import config_key, file_sources, source_entry, source_path, uses_standins
from libretto.config.sweep import sweep_points, sweep_training
from libretto.config.systems import FAD_REFERENCE, System, sampling_settings
from libretto.errors import InputError


def _text_model(config: dict, variant: str) -> str:
    """The Llama, by its name under sources.models, whose tokenizer (and, for AMT, whose states) a variant uses."""
    settings = config["variants"][variant]
    return settings["text_encoder"] if settings["family"] == "amt" else settings["base"]


def chunk_tokens(config: dict, variant: str) -> int:
    """The length of the chunks that a variant is trained on, its own or `data.chunk_tokens`."""
    return config["variants"][variant].get("chunk_tokens", config["data"]["chunk_tokens"])


def split_file(config: dict, split: str, length: int, run: str) -> str:
    """A split with chunks of `length` tokens: those of `data.chunk_tokens`, which all rows share, are on top."""
    folder = f"{run}/data/splits" + ("" if length == config["data"]["chunk_tokens"] else f"/{length}")
    return f"{folder}/{split}.parquet"


def training_splits(config: dict, variant: str, run: str) -> dict[str, str]:
    """The files `train` and `valid` that a variant's training reads; arguments as in `training_models`."""
    length = chunk_tokens(config, variant)
    if config["variants"][variant].get("songs") == "unpaired":
        return {split: f"{run}/data/unpaired/{length}/{split}.parquet" for split in ("train", "valid")}
    return {split: split_file(config, split, length, run) for split in ("train", "valid")}


def stages(config: dict, variant: str) -> list[str]:
    """A variant, before it the one from which its training starts, and so on; in the order of the trainings."""
    names = [variant]
    while start := config["variants"][names[0]].get("start"):
        names.insert(0, start)
    return names


def trained_on(config: dict, system: System, run: str) -> list[str]:
    """The training splits that a system's model has read; for other systems, the songs with a caption."""
    if system.variant is None:
        return [split_file(config, "train", config["data"]["chunk_tokens"], run)]
    return list(dict.fromkeys(training_splits(config, name, run)["train"] for name in stages(config, system.variant)))


def training_models(config: dict, variant: str, run: str) -> dict[str, str]:
    """The models that a variant's training reads: `base`, `text_model` and, for `init: amt`, `init_from`.

    Of a variant that starts from another, `base` is that one's model, and `best` tells of it.

    Args:
        config: the experiment.
        variant: its name in the config.
        run: the run's folder.
    """
    settings = config["variants"][variant]
    models = {"base": settings["base"], "text_model": _text_model(config, variant)}
    if settings.get("init") == "amt":
        models["init_from"] = settings["init_from"]
    paths = {role: source_path(config, name, f"{run}/sources") for role, name in models.items()}
    if "start" in settings:
        trained = f"{run}/train/{settings['start']}"
        paths |= {"base": f"{trained}/model", "best": f"{trained}/best.json"}
    return paths


def text_settings(config: dict, family: str) -> dict:
    """The keys of the config's section `text` that the prompts of a family are made with."""
    keys = ["max_tokens", *(["instruction", "instruction_without_description"] if family == "llama" else [])]
    return {key: config["text"][key] for key in keys}


def variant_settings(config: dict, variant: str) -> dict:
    """What defines a variant's training beside the files that it reads: `variant` and `text` of the config, `seed`."""
    apart = ("temperatures", "sampling", "chunk_tokens", "songs", "description_dropout")
    own = config["variants"][variant]
    settings = {key: value for key, value in own.items() if key not in apart}
    dropout = own.get("description_dropout", config["text"]["description_dropout"])
    text = text_settings(config, settings["family"]) | {"description_dropout": dropout}
    return {"variant": settings, "text": text, "seed": config["seed"]}


def point_settings(config: dict, name: str) -> dict:
    """What defines one training of the search: `variant_settings` of its variant with its own section `training`."""
    point = sweep_points(config)[name]
    settings = variant_settings(config, point.variant)
    training = sweep_training(point, settings["variant"]["training"], config["sweep"])
    return settings | {"variant": settings["variant"] | {"training": training}}


def generating_models(config: dict, system: System, run: str) -> dict[str, str]:
    """A system's `model`, `best` (which tells of the model) and `text_model`, the Llama that reads its text.

    Models of others have just the `model`.
    """
    if system.variant is None:
        name = system.checkpoint or config["unconditional"]["base"]
        return {"model": source_path(config, name, f"{run}/sources")}
    reader = source_path(config, _text_model(config, system.variant), f"{run}/sources")
    trained = f"{run}/train/{system.variant}"
    return {"model": f"{trained}/model", "best": f"{trained}/best.json", "text_model": reader}


def generating_settings(config: dict, system: System) -> dict | None:
    """What sampling reads of a system's variant and of `text`; None for AMT as published, which reads no text."""
    if system.checkpoint:
        end = config["systems"][system.name]["prompt_end"]
        return {"variant": None, "text": text_settings(config, "llama") | {"prompt_end": end}}
    if system.variant is None:
        return None
    variant = config["variants"][system.variant]
    kind = {key: variant[key] for key in ("family", "text_states") if key in variant}
    return {"variant": kind, "text": text_settings(config, variant["family"])}


def used_sources(config: dict) -> list[str]:
    """The sources that the experiment reads; the config may have others, such as weights of scores that are off."""
    models = [config["unconditional"]["base"]]
    models += [entry["checkpoint"] for entry in config["systems"].values() if "checkpoint" in entry]
    for variant in config["variants"].values():
        models += [variant[key] for key in ("base", "text_encoder", "init_from") if key in variant]
    for embedding in measured_embeddings(config).values():
        models += EMBEDDINGS[embedding].models
    return [*file_sources(config), *dict.fromkeys(models)]


def preflight_models(config: dict, variant: str | None, run: str) -> dict[str, dict]:
    """The pretrained models whose sizes a preflight needs: `base`, and for a variant `text_model`.

    Args:
        config: the experiment.
        variant: its name in the config; None for AMT as published.
        run: the run's folder.

    Returns:
        By role: `key` in the config, `entry` there, and `path` of the folder, which need not exist yet.
    """
    names = {"base": config["unconditional"]["base"]}
    if variant is not None:
        names = {"base": config["variants"][variant]["base"], "text_model": _text_model(config, variant)}
    return {
        role: {
            "key": config_key(name),
            "entry": source_entry(config, name),
            "path": source_path(config, name, f"{run}/sources"),
        }
        for role, name in names.items()
    }


def preflight_training(config: dict, variant: str) -> dict:
    """What a preflight trains with: what decides speed and memory; or, with `preflight.quick`, as little as possible.

    Args:
        config: the experiment.
        variant: its name in the config.

    Returns:
        `variant` (what of its section matters), `max_tokens`, `chunk_tokens`, `steps`, `n_valid`, `layers` (None for
        all), and `needs_gpu`.
    """
    quick, settings = config["preflight"]["quick"], config["variants"][variant]
    kind = {key: settings[key] for key in ("family", "text_states", "adapter", "freeze") if key in settings}
    keys = ("batch_size", "micro_batch_size", "precision", "gradient_checkpointing", "compile", "shard")
    training = {key: settings["training"][key] for key in keys}
    return {
        "variant": kind | {"training": training | ({"batch_size": 1, "micro_batch_size": 1} if quick else {})},
        "chunk_tokens": 64 if quick else chunk_tokens(config, variant),
        "steps": 1 if quick else config["preflight"]["steps"],
        "n_valid": 1 if quick else min(64, config["data"]["cuts"]["valid"]),
        **_preflight_size(config),
    }


def preflight_sampling(config: dict, system: System) -> dict:
    """What a preflight samples with, as in `preflight_training`: `variant`, `sampling`, `max_tokens`, and so on."""
    variant, sampling = generating_settings(config, system), sampling_settings(config, system)
    least = {"batch_size": 1, "max_new_tokens": 3} if config["preflight"]["quick"] else {}
    return {
        "variant": variant and variant["variant"],
        "sampling": sampling | least,
        **_preflight_size(config),
    }


def _preflight_size(config: dict) -> dict:
    quick = config["preflight"]["quick"]
    return {
        "max_tokens": config["text"]["max_tokens"],
        "layers": 1 if quick else None,
        "needs_gpu": not quick and not uses_standins(config),
    }


def published_base(config: dict, variant: str) -> dict:
    """Hub repository and revision of the model that a variant is made from; empty for a copy of your own."""
    entry = source_entry(config, config["variants"][variant]["base"])
    return {} if "path" in entry else {key: entry[key] for key in ("hub", "revision") if key in entry}


def outside_files(config: dict, name: str) -> list[str]:
    """The MIDI files of an entry of the config's section `systems`.

    Raises:
        InputError: there are none.
    """
    folder = config["systems"][name]["midi"]
    if not os.path.isdir(folder):
        raise InputError(f"systems.{name}.midi: there is no folder {folder}")
    files = sorted(entry.path for entry in os.scandir(folder) if entry.name.lower().endswith((".mid", ".midi")))
    if not files:
        raise InputError(f"systems.{name}.midi: there is no .mid file in {folder}")
    return files


def composed_prompts(config: dict) -> list[str]:
    """Your own prompts: the config's list, or the lines of the file that it names.

    Raises:
        InputError: there are none, or there is no such file.
    """
    prompts = config["prompts"]
    if isinstance(prompts, str):
        if not os.path.isfile(prompts):
            raise InputError(f"prompts: there is no file {prompts}; write a description into each of its lines")
        with open(prompts, encoding="utf-8") as file:
            prompts = [line.strip() for line in file if line.strip()]
    if not prompts:
        raise InputError("there is nothing to compose: add --config 'prompts=[\"a calm waltz for harp and strings\"]'")
    return prompts


def scored_files(config: dict, system: System, run: str) -> dict[str, str]:
    """What a system's scores need beside its samples and its audio: not every row of Table 3 has every score."""
    files = {}
    if system.has_fad:
        files["fad"] = f"{run}/embeddings/{system.name}/fad.parquet"
        files["fad_reference"] = f"{run}/embeddings/{FAD_REFERENCE.name}/fad.parquet"
    if system.variant is not None:
        files["validation"] = f"{run}/metrics/validation/{system.variant}.json"
    if config["metrics"]["clap"]:
        files["clap"] = f"{run}/embeddings/{system.name}/clap.parquet"
        if system.has_fad and config["metrics"]["fad_embedding"] != "clap":
            files["clap_reference"] = f"{run}/embeddings/{FAD_REFERENCE.name}/clap.parquet"
    if config["metrics"]["fmd"] and system.has_fad:
        files["fmd"] = f"{run}/embeddings/{system.name}/clamp2.parquet"
        files["fmd_reference"] = f"{run}/embeddings/{FAD_REFERENCE.name}/clamp2.parquet"
    return files


def command_options(paths: Mapping[str, str | None]) -> str:
    """Options `--name path` of a command, quoted for the shell; those without a path are left out."""
    return " ".join(f"--{name} {shlex.quote(path)}" for name, path in paths.items() if path)
