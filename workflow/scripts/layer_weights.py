"""Reads a trained variant with weighted text states, writes the learned share of each of the layers as JSON."""

import json
from pathlib import Path

import numpy as np
from safetensors import safe_open

from libretto.job import start_job

start_job(snakemake)
with safe_open(Path(snakemake.input.model) / "model.safetensors", "numpy") as parameters:
    shares = np.exp(parameters.get_tensor("text_prefix.layer_weights").astype(np.float64))
shares /= shares.sum()
Path(snakemake.output.weights).write_text(json.dumps({"weights": shares.tolist()}, indent=1) + "\n")
