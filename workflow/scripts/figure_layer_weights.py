"""Reads train/{variant}/layer_weights.json of the weighted variants, writes their figure (paper, section 6.1)."""

import json
from pathlib import Path

from libretto.log import start_log
from libretto.report.figures import plot_layer_weights, save

start_log(snakemake.log[0])
files = zip(snakemake.params.variants, snakemake.input.weights, strict=True)
weights = {variant: json.loads(Path(path).read_text())["weights"] for variant, path in files}
save(plot_layer_weights(weights), snakemake.output)
