"""Libretto: text to multi-track symbolic music, from the data to the results table."""

from snakemake.utils import min_version

min_version("9.27")


include: "workflow/rules/config.smk"  # config.yaml, checked against its schema


pathvars:
    run=f"results/{config['run']}",


report: "workflow/captions/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/standins.smk"
include: "workflow/rules/sources.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/training.smk"
include: "workflow/rules/sweep.smk"
include: "workflow/rules/generation.smk"
include: "workflow/rules/audio.smk"
include: "workflow/rules/scores.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/compose.smk"
include: "workflow/rules/preflight.smk"
include: "workflow/rules/study.smk"
include: "workflow/rules/provenance.smk"


rule all:
    default_target: True
    input:
        FINAL,
        "<run>/cost.csv",
        "<run>/provenance/ro-crate-metadata.json",
