"""Reads what was measured, writes what the run will take and what would stop it, as Markdown and as JSON."""

import json
from pathlib import Path

from libretto.config.systems import System
from libretto.job import start_job
from libretto.preflight.page import find_problems, needed_bytes, project, to_markdown

start_job(snakemake)
config, params = snakemake.params.config, snakemake.params
paths = [Path(path) for path in snakemake.input.figures]
figures = {f"{path.parent.name}/{path.stem}": json.loads(path.read_text()) for path in paths}
quick = config["preflight"]["quick"]
rows = project(config, figures, [System(**system) for system in params.systems])
problems = find_problems(params.problems, figures, params.unreachable, None if quick else params.free_bytes)
device = next(iter(figures.values()))
page = {"device": device["device"], "quick": quick, "problems": problems, "rules": rows, "measured": figures}
Path(snakemake.output.json).write_text(json.dumps(page, indent=1) + "\n")
Path(snakemake.output.markdown).write_text(
    to_markdown(config["run"], device, rows, problems, needed_bytes(figures), quick)
)
