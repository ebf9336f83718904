"""Section 5.1: the small search over batch sizes and learning rates, `snakemake sweep`."""

from dataclasses import asdict


# Seconds of work: not worth a place in a cluster's queue.
localrules:
    sweep_table,


# A search is over losses: its models are not kept.
use rule train as sweep_train with:
    output:
        best="<run>/sweep/{variant}/{point}.json",
        history="<run>/sweep/{variant}/{point}.parquet",
    log:
        "<run>/logs/sweep_train/{variant}/{point}.log",
    benchmark:
        "<run>/benchmarks/sweep_train/{variant}/{point}.tsv"
    wildcard_constraints:
        point=r"batch\d+-rate[^/]+",
    params:
        settings=sweep_settings,
        checkpoints=lambda wildcards: f"results/{config['run']}/sweep/checkpoints/{wildcards.variant}/{wildcards.point}",
        init_from=init_from_option,
        results=result_options,
        code=code("train.py"),
    message:
        "Training {wildcards.variant}, {wildcards.point}"


rule sweep_table:
    input:
        bests=sweep_files("json"),
        logs=sweep_files("parquet"),
    output:
        csv="<run>/sweep/table.csv",
        markdown="<run>/sweep/table.md",
        png="<run>/sweep/losses.png",
        svg=report(
            "<run>/sweep/losses.svg",
            caption="../captions/sweep.rst",
            category="Figures",
            labels={"item": "Search over batch size and learning rate"},
        ),
    log:
        "<run>/logs/sweep_table.log",
    benchmark:
        "<run>/benchmarks/sweep_table.tsv"
    conda:
        "../../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        points=lambda wildcards: [asdict(point) for point in sweep_points(config).values()],
        code=code("sweep_table.py"),
    message:
        "Table and figure of the search"
    script:
        "../scripts/sweep_table.py"
