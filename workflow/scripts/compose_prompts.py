"""Reads nothing, writes your own prompts as a split that generation can read."""

from libretto.job import start_job
from libretto.tables import PROMPTS, write_table

start_job(snakemake)
prompts = [{"lmd_id": f"prompt-{i:04d}", "caption": text} for i, text in enumerate(snakemake.params.prompts)]
write_table(snakemake.output.prompts, PROMPTS, prompts)
