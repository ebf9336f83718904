"""Reads train/{variant}/layer_weights.json of the weighted variants, writes their figure (paper, section 6.1)."""

import json
from pathlib import Path

from libretto.job import start_job
from libretto.report.figures import plot_layer_weights, save

start_job(snakemake)
files = zip(snakemake.params.variants, snakemake.input.weights, strict=True)
weights = {variant: json.loads(Path(path).read_text())["weights"] for variant, path in files}
save(plot_layer_weights(weights, snakemake.params.labels), snakemake.output)
