"""Reads all systems' scores and what was published, writes the results table, all samples' scores, and comparisons."""

import json
from pathlib import Path

import pandas as pd

from libretto.config.systems import System
from libretto.job import start_job
from libretto.report.presentation import page_values, to_latex, to_markdown
from libretto.report.table import BETTER_HIGH, build_table, mark_like_best, write_csv
from libretto.report.templates import render_template
from libretto.scores.comparisons import compare

start_job(snakemake)
files, params, output = snakemake.input, snakemake.params, snakemake.output
systems = [System(**system) for system in params.systems]
metrics = {system.name: json.loads(Path(path).read_text()) for system, path in zip(systems, files.metrics, strict=True)}
samples = pd.concat([pd.read_parquet(path) for path in files.samples], ignore_index=True)
samples.to_parquet(output.samples, index=False)
ranked = samples[samples["score"].isin(BETTER_HIGH)]
comparisons = compare(ranked, [system.name for system in systems if not system.has_own_length], params.seed)
write_csv(comparisons, output.comparisons)
table = build_table(metrics, pd.read_csv(files.paper))
write_csv(mark_like_best(table, comparisons, systems), output.csv)

# From the rounded file, so that all agree.
table = pd.read_csv(output.csv)
shown = table, systems, params.clap, params.standins, pd.read_csv(files.elsewhere).to_dict("records")
Path(output.markdown).write_text(to_markdown(*shown))
Path(output.latex).write_text(to_latex(*shown))
Path(output.html).write_text(render_template(files.template, run=params.run, **page_values(*shown)))
