"""The study, `snakemake --profile study study`: its page says what was planted and what the scores saw of it."""

from libretto.config.study import study_clips, study_roles
from libretto.config.systems import GROUND_TRUTH


localrules:
    study,


rule study:
    input:
        table="<run>/table.csv",
        logs=expand("<run>/train/{variant}/log.parquet", variant=config["variants"]),
        weights=expand("<run>/train/{variant}/layer_weights.json", variant=WEIGHTED),
        audio=lambda wildcards: [ancient(f"<run>/audio/{name}") for name in checked(study_clips, config, SYSTEMS)],
        lists=lambda wildcards: [f"<run>/audio/{name}.csv" for name in checked(study_clips, config, SYSTEMS)],
        samples=f"<run>/samples/{GROUND_TRUTH}/tokens.parquet",
        train="<run>/data/splits/train.parquet",
        template=f"{TEMPLATES}/study.md",
    output:
        page="<run>/study.md",
        folder=directory("<run>/study"),
    log:
        "<run>/logs/study.log",
    benchmark:
        "<run>/benchmarks/study.tsv"
    conda:
        "../../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        systems=[asdict(system) for system in SYSTEMS.values()],
        roles=lambda wildcards: asdict(checked(study_roles, config, SYSTEMS)),
        clips=lambda wildcards: study_clips(config, SYSTEMS),
        n=config["sampling"]["n"],
        seed=config["seed"],
        chunk_tokens=config["data"]["chunk_tokens"],
        code=code("study.py"),
    message:
        "The study's page"
    script:
        "../scripts/study.py"
