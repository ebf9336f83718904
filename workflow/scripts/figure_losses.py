"""Reads train/{variant}/log.parquet of all variants, writes the figure of their losses (paper, Figure 3)."""

import pandas as pd

from libretto.log import start_log
from libretto.report.figures import plot_losses, save

start_log(snakemake.log[0])
families = snakemake.params.families
logs = {variant: pd.read_parquet(path) for variant, path in zip(families, snakemake.input.logs, strict=True)}
save(plot_losses(logs, families), snakemake.output)
