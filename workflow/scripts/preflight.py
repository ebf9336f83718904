"""Reads the preflight's figures and page, prints the page, fails while something must be fixed."""

import json
from pathlib import Path

from libretto.errors import InputError
from libretto.job import start_job

start_job(snakemake)
print(Path(snakemake.input.markdown).read_text())
for path in map(Path, snakemake.input.figures):
    if "problem" in json.loads(path.read_text()):
        path.unlink()
if problems := json.loads(Path(snakemake.input.page).read_text())["problems"]:
    raise InputError(f"{problems[0]} ({len(problems)} in all must be fixed before the run: {snakemake.input.markdown})")
