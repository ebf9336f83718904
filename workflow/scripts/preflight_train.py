"""Reads no data and no weights, trains a variant of its real size for some steps, writes what that took as JSON."""

import json
from pathlib import Path

from libretto.files import remove
from libretto.imports import lean_imports
from libretto.job import start_job

with lean_imports():
    from libretto.models.adapter import add_adapter, freeze_base
    from libretto.models.device import select_device
    from libretto.preflight.device import check_gpu, describe_device, or_problem
    from libretto.preflight.models import base_config, random_variant
    from libretto.preflight.training import measure_training

start_job(snakemake)
params = snakemake.params
settings, folder, device = params.settings, Path(params.folder), select_device()


def measure():
    check_gpu(settings["needs_gpu"])
    shapes = [base_config(**params.models[role], layers=settings["layers"]) for role in ("base", "text_model")]
    variant = random_variant(settings["variant"], *shapes, settings["max_tokens"], device)
    if adapter := settings["variant"].get("adapter"):
        add_adapter(variant.model, adapter)
    if "freeze" in settings["variant"]:
        freeze_base(variant.model)
    training = settings["variant"]["training"]
    sizes = (settings[name] for name in ("chunk_tokens", "steps", "n_valid"))
    return measure_training(variant, training, *sizes, folder)


if folder.exists():  # a killed job's
    remove(folder)
folder.mkdir(parents=True)
advice = "lower training.micro_batch_size, or set training.gradient_checkpointing: true"
if settings["variant"]["training"]["shard"]:
    advice = None  # it will be spread over several GPUs, and a preflight has one
figures = or_problem(measure, advice)
remove(folder)
Path(snakemake.output.figures).write_text(json.dumps({**describe_device(), **figures}, indent=1) + "\n")
