"""Reads nothing, trains a tiny GPT-2 with AMT's vocabulary on composed pieces, writes it in the hub's format."""

from pathlib import Path

from libretto.files import folder_sha256
from libretto.imports import lean_imports
from libretto.job import start_job

with lean_imports():
    from libretto.standins.checkpoints import make_amt

log = start_job(snakemake)
loss = make_amt(snakemake.output.model, snakemake.params.seed, snakemake.params.size)
log.info("loss of the last steps: %.3f nats a token", loss)
Path(snakemake.output.sha256).write_text(folder_sha256(snakemake.output.model) + "\n")
