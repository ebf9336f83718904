"""Reads nothing, writes a tiny Llama of random weights and its tokenizer in the hub's format."""

from pathlib import Path

from libretto.files import folder_sha256
from libretto.imports import lean_imports
from libretto.job import start_job

with lean_imports():
    from libretto.standins.checkpoints import make_llama

start_job(snakemake)
make_llama(snakemake.output.model, snakemake.params.seed, snakemake.params.size)
Path(snakemake.output.sha256).write_text(folder_sha256(snakemake.output.model) + "\n")
