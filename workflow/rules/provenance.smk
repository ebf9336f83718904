"""Where every result came from, and what the run cost. Included last: it describes the rules before it."""

from pathlib import Path

from libretto.provenance.code_hash import meaning_hash
from libretto.provenance.rules import describe_rules, describe_sources

CODE_SUFFIXES = {".py", ".smk", ".yaml", ".html", ".css", ".csv", ".rst", ".md"}
CODE_FILES = sorted(str(path) for path in Path("workflow").rglob("*") if path.suffix in CODE_SUFFIXES)

FINAL = [
    "<run>/table.csv",
    "<run>/table.md",
    "<run>/table.html",
    "<run>/table.tex",
    "<run>/scores.parquet",
    "<run>/comparisons.csv",
    "<run>/report/index.html",
    expand("<run>/report/figures/{figure}.{suffix}", figure=FIGURES, suffix=["png", "svg"]),
    expand("<run>/train/{variant}/{file}", variant=LLAMA_VARIANTS, file=["folded", "README.md"]),
]


# Seconds of work: not worth a place in a cluster's queue.
localrules:
    cost,


rule cost:
    input:
        final=FINAL,
    output:
        table=report("<run>/cost.csv", caption="../captions/cost.rst", category="Cost", labels={"item": "Cost by rule"}),
    log:
        "<run>/logs/cost.log",
    benchmark:
        "<run>/benchmarks/cost.tsv"
    conda:
        "../../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        rules=lambda wildcards: describe_rules(workflow.rules, workflow.basedir),
        code=code("cost.py"),
    message:
        "Cost of the run, rule by rule"
    script:
        "../scripts/cost.py"


rule provenance:
    input:
        final=FINAL,
        cost="<run>/cost.csv",
        lock="uv.lock",
        # Modules count by their meaning (params), as everywhere.
        workflow=[ancient(path) if path.endswith(".py") else path for path in ["Snakefile", *CODE_FILES]],
    output:
        crate="<run>/provenance/ro-crate-metadata.json",
        config="<run>/provenance/config.yaml",
        checksums="<run>/provenance/sha256sums.txt",
        metadata="<run>/provenance/metadata.json",
        traces=directory("<run>/provenance/traces"),
    log:
        "<run>/logs/provenance.log",
    benchmark:
        "<run>/benchmarks/provenance.tsv"
    conda:
        "../../envs/report.yaml"
    threads: 4
    resources:
        mem_mb=grows(2000),
        runtime=grows(120),
    params:
        config=config,
        standins=STANDINS,
        systems=list(SYSTEMS),
        sources=describe_sources(config, f"results/{config['run']}/sources"),
        rules=lambda wildcards: describe_rules(workflow.rules, workflow.basedir),
        modules=meaning_hash(Path(LIBRARY_PATH).rglob("*.py")),
        code=code("provenance.py"),
    message:
        "Provenance of every file of the run"
    script:
        "../scripts/provenance.py"
