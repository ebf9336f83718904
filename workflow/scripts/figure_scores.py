"""Reads the results table, writes the figure of its scores beside the paper's."""

import pandas as pd

from libretto.config.systems import System
from libretto.job import start_job
from libretto.report.figures import plot_scores, save
from libretto.report.table import embedding_of

start_job(snakemake)
table = pd.read_csv(snakemake.input.table)
systems = [System(**system) for system in snakemake.params.systems]
save(plot_scores(table, systems, snakemake.params.families, embedding_of(table)), snakemake.output)
