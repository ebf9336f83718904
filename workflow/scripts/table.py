"""Reads metrics/{system}.json and the report's Table 3, writes the results table as CSV, Markdown and HTML."""

from pathlib import Path

import pandas as pd

from libretto.config.systems import System
from libretto.log import start_log
from libretto.report.listening import render_template
from libretto.report.table import build_table, page_values, read_csv, read_metrics, to_markdown, write_csv

start_log(snakemake.log[0])
params = snakemake.params
systems = [System(**system) for system in params.systems]
metrics = read_metrics({system.name: path for system, path in zip(systems, snakemake.input.metrics, strict=True)})
write_csv(build_table(metrics, pd.read_csv(snakemake.input.report)), snakemake.output.csv)

# From the rounded file, so that the three say the same.
table = read_csv(snakemake.output.csv)
Path(snakemake.output.markdown).write_text(to_markdown(table, systems, params.clap, params.standins))
page = render_template(
    snakemake.input.template, run=params.run, **page_values(table, systems, params.clap, params.standins)
)
Path(snakemake.output.html).write_text(page)
