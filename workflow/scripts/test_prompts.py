"""Reads a table of descriptions, writes them as generation reads the test set's and scores read the pairs."""

from libretto.data.descriptions import read_descriptions
from libretto.data.pairs import describe_prompts
from libretto.errors import InputError
from libretto.job import start_job
from libretto.tables import PAIRS, write_table

start_job(snakemake)
table, n = snakemake.input.table, snakemake.params.n
rows = list(describe_prompts(read_descriptions(table, ["caption"]), table))
if len(rows) < n:
    raise InputError(f"{table} has {len(rows)} descriptions, and sampling.n is {n}: lower it, or add descriptions")
write_table(snakemake.output.prompts, PAIRS, rows)
