"""Reads what became of every song, writes the dataset's counts beside the paper's."""

import json
from pathlib import Path

import pyarrow.parquet as pq

from libretto.data.summary import summarize
from libretto.job import start_job
from libretto.tables import read_rows

start_job(snakemake)
n_members = pq.read_metadata(snakemake.input.members).num_rows
unpaired = pq.read_table(snakemake.input.unpaired, columns=["row"])["row"]
n_rows = pq.read_metadata(snakemake.input.pairs).num_rows + len(unpaired) - unpaired.null_count
summary = summarize(read_rows(snakemake.input.songs), read_rows(snakemake.input.dropped), n_members, n_rows)
Path(snakemake.output.summary).write_text(json.dumps(summary, indent=2) + "\n")
