"""Section 5.3: the scores of every system."""

from libretto.config.jobs import scored_files, trained_on
from libretto.config.systems import GROUND_TRUTH


rule control_samples:
    input:
        pairs="<run>/data/pairs.parquet",
        train="<run>/data/splits/train.parquet",
        test="<run>/data/splits/test.parquet",
    output:
        tokens="<run>/samples/{system}/tokens.parquet",
        midi=directory("<run>/samples/{system}/midi"),
    log:
        "<run>/logs/control_samples/{system}.log",
    benchmark:
        "<run>/benchmarks/control_samples/{system}.tsv"
    wildcard_constraints:
        system=one_of(name for name, system in SYSTEMS.items() if system.kind == "control"),
    conda:
        "../../envs/data.yaml"
    threads: 1
    resources:
        mem_mb=grows(8000),
        runtime=grows(60),
    params:
        control=lambda wildcards: config["systems"][wildcards.system]["control"],
        share=lambda wildcards: config["systems"][wildcards.system]["share"],
        n=config["sampling"]["n"],
        seed=config["seed"],
        code=code("control_samples.py"),
    message:
        "Control {wildcards.system}"
    script:
        "../scripts/control_samples.py"


rule copied:
    input:
        tokens="<run>/samples/{system}/tokens.parquet",
        train=lambda wildcards: trained_on(config, SYSTEMS[wildcards.system], "<run>"),
    output:
        shares="<run>/metrics/copied/{system}.json",
    log:
        "<run>/logs/copied/{system}.log",
    benchmark:
        "<run>/benchmarks/copied/{system}.tsv"
    wildcard_constraints:
        system=one_of(SYSTEMS),
    conda:
        "../../envs/data.yaml"
    threads: 1
    resources:
        mem_mb=grows(4000),
        runtime=grows(60),
    params:
        code=code("copied.py"),
    message:
        "What {wildcards.system} copied"
    script:
        "../scripts/copied.py"


rule score:
    input:
        unpack(lambda wildcards: scored_files(config, SYSTEMS[wildcards.system], "<run>")),
        tokens="<run>/samples/{system}/tokens.parquet",
        copied="<run>/metrics/copied/{system}.json",
        ground_truth=f"<run>/samples/{GROUND_TRUTH}/tokens.parquet",
        pairs=PAIRS,
        list=lambda wildcards: f"<run>/audio/{SYSTEMS[wildcards.system].heard_as}.csv",
    output:
        scores="<run>/metrics/{system}.json",
        samples="<run>/metrics/{system}.parquet",
    log:
        "<run>/logs/score/{system}.log",
    benchmark:
        "<run>/benchmarks/score/{system}.tsv"
    wildcard_constraints:
        system=one_of(SYSTEMS),
    conda:
        "../../envs/audio.yaml"
    threads: 1
    resources:
        mem_mb=grows(4000),
        runtime=grows(30),
    params:
        fad_embedding=FAD_EMBEDDING,
        fad_sub=config["metrics"]["fad_sub"],
        seed=config["seed"],
        code=code("score.py", unused=EMBEDDERS.values()),  # it reads what they made
    message:
        "Scores of {wildcards.system}"
    script:
        "../scripts/score.py"
