"""Reads an embedding's weights where they are there, embeds noise or random notes, writes what that took as JSON."""

import json
from pathlib import Path

from libretto.audio.embeddings import make_embedder
from libretto.config.embeddings import EMBEDDINGS
from libretto.errors import InputError
from libretto.job import start_job
from libretto.preflight.device import describe_device, or_problem
from libretto.preflight.embedding import measure_clamp2, measure_embedding

start_job(snakemake)
params = snakemake.params


def measure():
    if missing := [path for path in params.weights if not Path(path).exists()]:
        raise InputError(f"{missing[0]} is not there yet: download it with `snakemake {missing[0]}`")
    if EMBEDDINGS[params.embedding].of_audio:
        return measure_embedding(make_embedder(params.embedding, params.weights, params.sha256))
    return measure_clamp2(*params.weights, params.sha256)


figures = or_problem(measure, "use a larger card")
Path(snakemake.output.figures).write_text(json.dumps({**describe_device(), **figures}, indent=1) + "\n")
