"""Reads nothing, writes a tiny Llama of random weights and its tokenizer in the hub's format."""

from pathlib import Path

from libretto.files import folder_sha256
from libretto.log import start_log
from libretto.standins.checkpoints import make_llama

start_log(snakemake.log[0])
make_llama(snakemake.output.model, snakemake.params.seed, snakemake.params.size)
Path(snakemake.output.sha256).write_text(folder_sha256(snakemake.output.model) + "\n")
