"""Before days of GPU time, minutes of it: `snakemake preflight` says what a run will take and what would stop it."""

from libretto.config.embeddings import measured_embeddings
from libretto.config.jobs import preflight_models, preflight_sampling, preflight_training, used_sources
from libretto.config.systems import sampling_settings
from libretto.config.sources import download_urls, source_problems, unreachable_hosts
from libretto.disk import free_bytes

# Speed does not depend on the temperature: one system of each model and length.
MEASURED = {
    (system.variant, sampling_settings(config, system)["max_new_tokens"]): name
    for name, system in reversed(SYSTEMS.items())
    if name in GENERATED and not system.checkpoint
}

EMBEDDED = measured_embeddings(config)


# Seconds of work: not worth a place in a cluster's queue.
localrules:
    preflight_page,
    preflight,


rule preflight_train:
    input:
        standins=lambda wildcards: [
            model["path"]
            for model in preflight_models(config, wildcards.variant, "<run>").values()
            if model["path"].startswith(STANDINS)
        ],
    output:
        figures="<run>/preflight/train/{variant}.json",
    log:
        "<run>/logs/preflight/train/{variant}.log",
    benchmark:
        "<run>/benchmarks/preflight/train/{variant}.tsv"
    conda:
        "../../envs/models.yaml"
    threads: 8
    resources:
        gpu=1,
        mem_mb=grows(lambda wildcards: training_mb(config, wildcards.variant)),
        runtime=grows(60),
    params:
        settings=lambda wildcards: preflight_training(config, wildcards.variant),
        models=lambda wildcards: preflight_models(config, wildcards.variant, f"results/{config['run']}"),
        folder=lambda wildcards: f"results/{config['run']}/preflight/checkpoints/{wildcards.variant}",
        code=code("preflight_train.py"),
    message:
        "Preflight: training {wildcards.variant}"
    script:
        "../scripts/preflight_train.py"


rule preflight_generate:
    input:
        standins=lambda wildcards: [
            model["path"]
            for model in preflight_models(config, SYSTEMS[wildcards.system].variant, "<run>").values()
            if model["path"].startswith(STANDINS)
        ],
    output:
        figures="<run>/preflight/generate/{system}.json",
    log:
        "<run>/logs/preflight/generate/{system}.log",
    benchmark:
        "<run>/benchmarks/preflight/generate/{system}.tsv"
    wildcard_constraints:
        system=one_of(MEASURED.values()),
    conda:
        "../../envs/models.yaml"
    threads: 4
    resources:
        gpu=1,
        mem_mb=grows(lambda wildcards: sampling_mb(config, SYSTEMS[wildcards.system])),
        runtime=grows(60),
    params:
        settings=lambda wildcards: preflight_sampling(config, SYSTEMS[wildcards.system]),
        models=lambda wildcards: preflight_models(config, SYSTEMS[wildcards.system].variant, f"results/{config['run']}"),
        temperature=lambda wildcards: SYSTEMS[wildcards.system].temperature,
        code=code("preflight_generate.py"),
    message:
        "Preflight: sampling with {wildcards.system}"
    script:
        "../scripts/preflight_generate.py"


rule preflight_embed:
    output:
        figures="<run>/preflight/embed/{embedding}.json",
    log:
        "<run>/logs/preflight/embed/{embedding}.log",
    benchmark:
        "<run>/benchmarks/preflight/embed/{embedding}.tsv"
    wildcard_constraints:
        embedding=one_of(EMBEDDED),
    conda:
        "../../envs/audio.yaml"
    threads: 1
    resources:
        gpu=1,
        mem_mb=grows(16000),
        runtime=grows(30),
    params:
        embedding=lambda wildcards: EMBEDDED[wildcards.embedding],
        # Not inputs: without a network, the rest is measured all the same.
        weights=lambda wildcards: [
            source_path(config, name, f"results/{config['run']}/sources")
            for name in EMBEDDINGS[EMBEDDED[wildcards.embedding]].models
        ],
        sha256=lambda wildcards: expected_sha256(config, EMBEDDED[wildcards.embedding]),
        code=code("preflight_embed.py"),
    message:
        "Preflight: embedding for {wildcards.embedding}"
    script:
        "../scripts/preflight_embed.py"


rule preflight_page:
    input:
        figures=[
            *expand("<run>/preflight/train/{variant}.json", variant=config["variants"]),
            *expand("<run>/preflight/generate/{system}.json", system=MEASURED.values()),
            *expand("<run>/preflight/embed/{embedding}.json", embedding=EMBEDDED),
        ],
    output:
        markdown="<run>/preflight/preflight.md",
        json="<run>/preflight/preflight.json",
    log:
        "<run>/logs/preflight/page.log",
    benchmark:
        "<run>/benchmarks/preflight/page.tsv"
    conda:
        "../../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        config=config,
        systems=[asdict(SYSTEMS[name]) for name in GENERATED if not SYSTEMS[name].checkpoint],
        # These change from call to call, so that the page is made each time.
        unreachable=lambda wildcards: unreachable_hosts(
            download_urls(config, used_sources(config), f"results/{config['run']}/sources")
        ),
        free_bytes=lambda wildcards: free_bytes(f"results/{config['run']}"),
        problems=lambda wildcards: source_problems(config, used_sources(config), f"results/{config['run']}/sources"),
        code=code("preflight_page.py"),
    message:
        "Preflight: the page"
    script:
        "../scripts/preflight_page.py"


# Fails while something must be fixed. What could not be measured is removed, to be measured again by the next call.
rule preflight:
    input:
        figures=rules.preflight_page.input.figures,
        page="<run>/preflight/preflight.json",
        markdown="<run>/preflight/preflight.md",
    log:
        "<run>/logs/preflight/preflight.log",
    benchmark:
        "<run>/benchmarks/preflight/preflight.tsv"
    retries: 0
    conda:
        "../../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        code=code("preflight.py"),
    message:
        "Preflight: what must be fixed"
    script:
        "../scripts/preflight.py"
