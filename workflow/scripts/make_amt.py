"""Reads nothing, trains a tiny GPT-2 with AMT's vocabulary on composed pieces, writes it in the hub's format."""

from pathlib import Path

from libretto.files import folder_sha256
from libretto.log import start_log
from libretto.standins.checkpoints import make_amt

log = start_log(snakemake.log[0])
loss = make_amt(snakemake.output.model, snakemake.params.seed, snakemake.params.size)
log.info("loss of the last steps: %.3f nats a token", loss)
Path(snakemake.output.sha256).write_text(folder_sha256(snakemake.output.model) + "\n")
