"""Reads a table of descriptions, writes them as generation reads the test set's and scores read the pairs."""

from libretto.data.descriptions import read_descriptions
from libretto.data.pairs import describe_prompts
from libretto.job import start_job
from libretto.tables import PAIRS, write_table

start_job(snakemake)
table = snakemake.input.table
write_table(snakemake.output.prompts, PAIRS, list(describe_prompts(read_descriptions(table, ["caption"]), table)))
