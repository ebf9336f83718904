"""Reads train/{variant}/log.parquet of all variants, writes the figure of their losses (paper, Figure 3)."""

import pandas as pd

from libretto.job import start_job
from libretto.report.figures import plot_losses, save

start_job(snakemake)
families, labels = snakemake.params.families, snakemake.params.labels
logs = {variant: pd.read_parquet(path) for variant, path in zip(families, snakemake.input.logs, strict=True)}
save(plot_losses(logs, families, labels), snakemake.output)
