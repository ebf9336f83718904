"""Section 5.1, inference: a piece of music for each of the first test descriptions, per system; and the ground truth."""

from libretto.config.jobs import generating_models, generating_settings, outside_files
from libretto.config.systems import sampling_settings


rule generate:
    input:
        unpack(lambda wildcards: models(generating_models(config, SYSTEMS[wildcards.system], "<run>"))),
        unpack(lambda wildcards: {"pairs": PAIRS} if SYSTEMS[wildcards.system].best_of > 1 else {}),
        test=DESCRIPTIONS,
    output:
        tokens="<run>/samples/{system}/tokens.parquet",
        midi=directory("<run>/samples/{system}/midi"),
    log:
        "<run>/logs/generate/{system}.log",
    benchmark:
        "<run>/benchmarks/generate/{system}.tsv"
    wildcard_constraints:
        system=one_of(GENERATED),
    conda:
        "../../envs/models.yaml"
    threads: 4
    resources:
        gpu=1,
        mem_mb=grows(lambda wildcards: sampling_mb(config, SYSTEMS[wildcards.system])),
        runtime=grows(240),
    params:
        contents=lambda wildcards: contents(generating_models(config, SYSTEMS[wildcards.system], "<run>").values()),
        settings=lambda wildcards: generating_settings(config, SYSTEMS[wildcards.system]),
        sampling=lambda wildcards: sampling_settings(config, SYSTEMS[wildcards.system]),
        temperature=lambda wildcards: SYSTEMS[wildcards.system].temperature,
        seed=config["seed"],
        # Outside the outputs, which Snakemake deletes when a job fails or starts again.
        batches=lambda wildcards: f"results/{config['run']}/samples/{wildcards.system}/batches",
        code=lambda wildcards: code("generate.py", unused=unused_in_generation(SYSTEMS[wildcards.system])),
    message:
        "Sampling {wildcards.system}"
    script:
        "../scripts/generate.py"


rule ground_truth_samples:
    input:
        songs=lambda wildcards: f"<run>/data/splits/{ALL_SYSTEMS[wildcards.system].split}.parquet",
    output:
        tokens="<run>/samples/{system}/tokens.parquet",
        midi=directory("<run>/samples/{system}/midi"),
    log:
        "<run>/logs/ground_truth_samples/{system}.log",
    benchmark:
        "<run>/benchmarks/ground_truth_samples/{system}.tsv"
    wildcard_constraints:
        system=one_of(name for name in ALL_SYSTEMS if name not in WITH_FAD),
    conda:
        "../../envs/data.yaml"
    threads: 1
    resources:
        mem_mb=grows(8000),
        runtime=grows(60),
    params:
        n=lambda wildcards: config["sampling"]["n"] if wildcards.system in SYSTEMS else None,
        seed=config["seed"],
        code=code("ground_truth_samples.py"),
    message:
        "Ground-truth samples of {wildcards.system}"
    script:
        "../scripts/ground_truth_samples.py"


rule outside_samples:
    input:
        test=DESCRIPTIONS,
        midi=lambda wildcards: [ancient(path) for path in checked(outside_files, config, wildcards.system)],
    output:
        tokens="<run>/samples/{system}/tokens.parquet",
        midi=directory("<run>/samples/{system}/midi"),
    log:
        "<run>/logs/outside_samples/{system}.log",
    benchmark:
        "<run>/benchmarks/outside_samples/{system}.tsv"
    wildcard_constraints:
        system=one_of(name for name, system in SYSTEMS.items() if system.kind == "outside"),
    conda:
        "../../envs/data.yaml"
    threads: 1
    resources:
        mem_mb=grows(8000),
        runtime=grows(60),
    params:
        n=config["sampling"]["n"],
        max_new_tokens=config["sampling"]["max_new_tokens"],
        contents=lambda wildcards: [content_digest(config["systems"][wildcards.system]["midi"], DIGESTS)],
        code=code("outside_samples.py"),
    message:
        "MIDI files of {wildcards.system} as samples"
    script:
        "../scripts/outside_samples.py"
