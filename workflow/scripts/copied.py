"""Reads a system's samples and the training songs, finds how much of each sample is copied, writes it as JSON."""

import json
from pathlib import Path

from libretto.job import start_job
from libretto.scores.copied import copied_shares
from libretto.tables import read_rows

start_job(snakemake)
samples = list(read_rows(snakemake.input.tokens, ["index", "tokens"]))
shares = copied_shares(samples, list(snakemake.input.train))
Path(snakemake.output.shares).write_text(json.dumps(shares, indent=1) + "\n")
