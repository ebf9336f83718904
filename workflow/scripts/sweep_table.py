"""Reads the losses of the search's trainings, writes their table as CSV and Markdown, and their figure."""

import json
from pathlib import Path

import pandas as pd

from libretto.config.sweep import SweepPoint
from libretto.job import start_job
from libretto.report.figures import plot_sweep, save
from libretto.report.sweep_table import sweep_markdown, sweep_table
from libretto.report.table import write_csv

start_job(snakemake)
points = [SweepPoint(**point) for point in snakemake.params.points]
bests = [json.loads(Path(path).read_text()) for path in snakemake.input.bests]
logs = [pd.read_parquet(path) for path in snakemake.input.logs]
table = sweep_table(points, bests, logs)
write_csv(table, snakemake.output.csv)
Path(snakemake.output.markdown).write_text(sweep_markdown(table))
save(plot_sweep(points, logs), (snakemake.output.png, snakemake.output.svg))
