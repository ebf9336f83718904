"""Reads nothing, writes a tiny Llama of random weights and its tokenizer in the hub's format."""

from libretto.log import start_log
from libretto.standins.checkpoints import make_llama

start_log(snakemake.log[0])
make_llama(snakemake.output.model, snakemake.params.seed, snakemake.params.size)
