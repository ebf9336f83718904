"""Reads the dataset's songs and counts, draws the figure of the dataset, writes it as PNG and SVG."""

import json
from pathlib import Path

import pandas as pd

from libretto.job import start_job
from libretto.report.dataset_figure import plot_dataset
from libretto.report.figures import save

start_job(snakemake)
songs = pd.read_parquet(snakemake.input.songs)
summary = json.loads(Path(snakemake.input.summary).read_text())
save(plot_dataset(songs, summary), (snakemake.output.png, snakemake.output.svg))
