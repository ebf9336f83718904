"""Reads metrics/{system}.json and the paper's Table 3, writes the results table as CSV, Markdown and HTML."""

import json
from pathlib import Path

import pandas as pd

from libretto.config.systems import System
from libretto.log import start_log
from libretto.report.presentation import page_values, to_markdown
from libretto.report.table import build_table, write_csv
from libretto.report.templates import render_template

start_log(snakemake.log[0])
params = snakemake.params
systems = [System(**system) for system in params.systems]
files = zip(systems, snakemake.input.metrics, strict=True)
metrics = {system.name: json.loads(Path(path).read_text()) for system, path in files}
write_csv(build_table(metrics, pd.read_csv(snakemake.input.paper)), snakemake.output.csv)

# From the rounded file, so that all three agree.
table = pd.read_csv(snakemake.output.csv)
Path(snakemake.output.markdown).write_text(to_markdown(table, systems, params.clap, params.standins))
page = render_template(
    snakemake.input.template, run=params.run, **page_values(table, systems, params.clap, params.standins)
)
Path(snakemake.output.html).write_text(page)
