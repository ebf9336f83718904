"""Reads nothing, writes your own prompts as a split that generation can read."""

from libretto.log import start_log
from libretto.tables import PROMPTS, write_table

start_log(snakemake.log[0])
prompts = [{"lmd_id": f"prompt-{i:04d}", "caption": text} for i, text in enumerate(snakemake.params.prompts)]
write_table(snakemake.output.prompts, PROMPTS, prompts)
