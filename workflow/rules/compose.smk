"""Your own prompts: what every variant makes of them, `snakemake compose --config 'prompts=["a calm waltz"]'`."""

from dataclasses import replace

from libretto.config.jobs import composed_prompts

COMPOSERS = [name for name, system in SYSTEMS.items() if system.variant is not None]


# Seconds of work: not worth a place in a cluster's queue.
localrules:
    compose_prompts,
    compose,


rule compose_prompts:
    output:
        prompts="<run>/compose/prompts.parquet",
    log:
        "<run>/logs/compose/prompts.log",
    benchmark:
        "<run>/benchmarks/compose/prompts.tsv"
    conda:
        "../../envs/data.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        prompts=lambda wildcards: checked(composed_prompts, config),
        code=code("compose_prompts.py"),
    message:
        "Your own prompts"
    script:
        "../scripts/compose_prompts.py"


use rule generate as compose_generate with:
    input:
        unpack(lambda wildcards: models(generating_models(config, SYSTEMS[wildcards.system], "<run>"))),
        test="<run>/compose/prompts.parquet",
    output:
        tokens="<run>/compose/tokens/{system}.parquet",
        midi=directory("<run>/compose/midi/{system}"),
    log:
        "<run>/logs/compose/generate/{system}.log",
    benchmark:
        "<run>/benchmarks/compose/generate/{system}.tsv"
    wildcard_constraints:
        system=one_of(COMPOSERS),
    params:
        contents=lambda wildcards: contents(generating_models(config, SYSTEMS[wildcards.system], "<run>").values()),
        settings=lambda wildcards: generating_settings(config, SYSTEMS[wildcards.system]),
        # Nothing is known about the prompts that a choice among candidates could go by.
        sampling=lambda wildcards: sampling_settings(config, SYSTEMS[wildcards.system])
        | {"n": len(checked(composed_prompts, config)), "best_of": 1},
        temperature=lambda wildcards: SYSTEMS[wildcards.system].temperature,
        seed=config["seed"],
        batches=lambda wildcards: f"results/{config['run']}/compose/batches/{wildcards.system}",
        code=lambda wildcards: code(
            "generate.py", unused=unused_in_generation(replace(SYSTEMS[wildcards.system], best_of=1))
        ),
    message:
        "Composing with {wildcards.system}"


use rule render as compose_render with:
    input:
        tokens="<run>/compose/tokens/{system}.parquet",
        midi=ancient("<run>/compose/midi/{system}"),
        soundfont=source("soundfont"),
    output:
        audio=directory("<run>/compose/audio/{system}"),
        list="<run>/compose/audio/{system}.csv",
    log:
        "<run>/logs/compose/render/{system}.log",
    benchmark:
        "<run>/benchmarks/compose/render/{system}.tsv"
    wildcard_constraints:
        system=one_of(COMPOSERS),
    message:
        "Rendering what {wildcards.system} composed"


rule compose:
    input:
        samples=expand("<run>/compose/tokens/{system}.parquet", system=COMPOSERS),
        midi=[ancient(f"<run>/compose/midi/{name}") for name in COMPOSERS],
        audio=[ancient(f"<run>/compose/audio/{name}") for name in COMPOSERS],
        audio_lists=expand("<run>/compose/audio/{system}.csv", system=COMPOSERS),
        template=f"{TEMPLATES}/compose.html",
        templates=PAGE_TEMPLATES,
    output:
        page="<run>/compose/index.html",
        media=directory("<run>/compose/samples"),
    log:
        "<run>/logs/compose/page.log",
    benchmark:
        "<run>/benchmarks/compose/page.tsv"
    conda:
        "../../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        run=config["run"],
        systems=[asdict(SYSTEMS[name]) for name in COMPOSERS],
        standins=uses_standins(config),
        code=code("compose_page.py"),
    message:
        "Page of what was composed"
    script:
        "../scripts/compose_page.py"
