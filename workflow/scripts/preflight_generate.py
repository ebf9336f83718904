"""Reads no weights, samples a batch from a model of its real size, writes what that took as JSON."""

import json
from pathlib import Path

from libretto.imports import lean_imports
from libretto.job import start_job

with lean_imports():
    from libretto.generation.sampling import conditioned, unconditional
    from libretto.models.device import inference_dtype, select_device
    from libretto.preflight.device import check_gpu, describe_device, or_problem
    from libretto.preflight.generation import measure_generation
    from libretto.preflight.models import base_config, random_amt, random_variant

start_job(snakemake)
params = snakemake.params
settings, device = params.settings, select_device()


def measure():
    check_gpu(settings["needs_gpu"])
    shapes = [base_config(**model, layers=settings["layers"]) for model in params.models.values()]
    if settings["variant"] is None:
        generator = unconditional(random_amt(*shapes, device))
    else:
        variant = random_variant(settings["variant"], *shapes, settings["max_tokens"], device)
        variant.model.to(inference_dtype(device))
        generator = conditioned(variant, settings["sampling"]["guidance"])
    return measure_generation(generator, settings["sampling"], params.temperature)


figures = or_problem(measure, "set a smaller sampling.batch_size")
Path(snakemake.output.figures).write_text(json.dumps({**describe_device(), **figures}, indent=1) + "\n")
