"""Reads all samples' scores, writes how CLAP and FAD go with instruments and degeneracy, as a table and a figure."""

import pandas as pd

from libretto.config.systems import System
from libretto.job import start_job
from libretto.report.figures import plot_correlations, save
from libretto.report.table import write_csv
from libretto.scores.correlation import correlations

start_job(snakemake)
systems = [system for system in (System(**system) for system in snakemake.params.systems) if system.is_sampled]
samples = pd.read_parquet(snakemake.input.scores)
rows = correlations(samples, [system.name for system in systems], snakemake.params.seed)
write_csv(rows, snakemake.output.csv)
save(plot_correlations(rows, systems), [snakemake.output.png, snakemake.output.svg])
