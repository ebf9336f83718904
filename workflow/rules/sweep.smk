"""Section 5.1: the small search over batch sizes and learning rates, `snakemake sweep`."""

from dataclasses import asdict

from libretto.config.jobs import point_settings
from libretto.config.sweep import sweep_points


# Seconds of work: not worth a place in a cluster's queue.
localrules:
    sweep,


# A search compares losses: its models are not kept.
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
        contents=lambda wildcards: contents(training_models(config, wildcards.variant, "<run>").values()),
        settings=lambda wildcards: json.dumps(
            point_settings(config, f"{wildcards.variant}/{wildcards.point}"), sort_keys=True
        ),
        checkpoints=lambda wildcards: f"results/{config['run']}/sweep/checkpoints/{wildcards.variant}/{wildcards.point}",
        init_from=lambda wildcards, input: command_options({"init-from": input.get("init_from")}),
        results=lambda wildcards, output: command_options(dict(output.items())),
        code=lambda wildcards: code("train.py", LAUNCHER, unused(wildcards.variant)),
    message:
        "Training {wildcards.variant}, {wildcards.point}"


rule sweep:
    input:
        bests=lambda wildcards: [f"<run>/sweep/{name}.json" for name in checked(sweep_points, config)],
        logs=lambda wildcards: [f"<run>/sweep/{name}.parquet" for name in checked(sweep_points, config)],
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
        "<run>/logs/sweep.log",
    benchmark:
        "<run>/benchmarks/sweep.tsv"
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
