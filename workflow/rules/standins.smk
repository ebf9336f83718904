"""The demo's own sources, made where a `path:` of the config names them: a composed corpus and tiny base checkpoints."""


rule compose_corpus:
    output:
        archive="results/standins/lmd_full.tar.gz",
        captions="results/standins/train.json",
    log:
        "results/standins/logs/compose_corpus.log",
    benchmark:
        "results/standins/benchmarks/compose_corpus.tsv"
    conda:
        "../../envs/data.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        songs=lookup(within=config, dpath="standins/songs"),
        seed=lookup(within=config, dpath="standins/seed"),
        code=code("compose_corpus.py"),
    message:
        "Composing the demo's songs"
    script:
        "../scripts/compose_corpus.py"


rule make_amt:
    output:
        model=directory("results/standins/models/amt-large"),
    log:
        "results/standins/logs/make_amt.log",
    benchmark:
        "results/standins/benchmarks/make_amt.tsv"
    conda:
        "../../envs/models.yaml"
    threads: 1
    resources:
        mem_mb=3000,
        runtime=20,
    params:
        seed=lookup(within=config, dpath="standins/seed"),
        steps=lookup(within=config, dpath="standins/amt_steps"),
        code=code("make_amt.py"),
    message:
        "Training a tiny stand-in for AMT-Large"
    script:
        "../scripts/make_amt.py"


rule make_llama:
    output:
        model=directory("results/standins/models/{llama}"),
    log:
        "results/standins/logs/make_{llama}.log",
    benchmark:
        "results/standins/benchmarks/make_{llama}.tsv"
    wildcard_constraints:
        llama="llama-1b|llama-3b",
    conda:
        "../../envs/models.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        seed=lookup(within=config, dpath="standins/seed"),
        code=code("make_llama.py"),
    message:
        "Making a tiny stand-in for {wildcards.llama}"
    script:
        "../scripts/make_llama.py"
