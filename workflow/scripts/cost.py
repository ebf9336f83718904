"""Reads the benchmark files of all jobs, sums them up by rule, writes cost.csv."""

from pathlib import Path

from libretto.job import start_job
from libretto.provenance.cost import collect_costs

start_job(snakemake)
costs = collect_costs(Path(snakemake.output.table).parent / "benchmarks", snakemake.params.rules)
costs.to_csv(snakemake.output.table, index=False, float_format="%.5f", lineterminator="\n")
