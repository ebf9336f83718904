"""Sources of the project's own, made where a `path:` of the config names them: a composed corpus and tiny checkpoints."""

STANDINS_FOLDER = STANDINS + config["standins"]["name"]


rule compose_corpus:
    output:
        archive=f"{STANDINS_FOLDER}/lmd_full.tar.gz",
        captions=f"{STANDINS_FOLDER}/train.json",
    log:
        f"{STANDINS_FOLDER}/logs/compose_corpus.log",
    benchmark:
        f"{STANDINS_FOLDER}/benchmarks/compose_corpus.tsv"
    conda:
        "../../envs/data.yaml"
    threads: 1
    resources:
        mem_mb=grows(1000),
        runtime=grows(10),
    params:
        songs=lookup(within=config, dpath="standins/songs"),
        seed=lookup(within=config, dpath="standins/seed"),
        code=code("compose_corpus.py"),
    message:
        "Composing songs"
    script:
        "../scripts/compose_corpus.py"


rule make_amt:
    output:
        model=directory(f"{STANDINS_FOLDER}/models/amt-large"),
        sha256=f"{STANDINS_FOLDER}/models/amt-large.sha256",
    log:
        f"{STANDINS_FOLDER}/logs/make_amt.log",
    benchmark:
        f"{STANDINS_FOLDER}/benchmarks/make_amt.tsv"
    # Most trainings wait for it.
    priority: 2
    conda:
        "../../envs/models.yaml"
    threads: 1
    resources:
        mem_mb=grows(3000),
        runtime=grows(60),
    params:
        seed=lookup(within=config, dpath="standins/seed"),
        size=lookup(within=config, dpath="standins/amt-large"),
        code=code("make_amt.py"),
    message:
        "Training a tiny stand-in for AMT-Large"
    script:
        "../scripts/make_amt.py"


rule make_llama:
    output:
        model=directory(f"{STANDINS_FOLDER}/models/{{llama}}"),
        sha256=f"{STANDINS_FOLDER}/models/{{llama}}.sha256",
    log:
        f"{STANDINS_FOLDER}/logs/make_{{llama}}.log",
    benchmark:
        f"{STANDINS_FOLDER}/benchmarks/make_{{llama}}.tsv"
    wildcard_constraints:
        llama="llama-1b|llama-3b",
    conda:
        "../../envs/models.yaml"
    threads: 1
    resources:
        mem_mb=grows(2000),
        runtime=grows(10),
    params:
        seed=lookup(within=config, dpath="standins/seed"),
        size=lambda wildcards: config["standins"][wildcards.llama],
        code=code("make_llama.py"),
    message:
        "Making a tiny stand-in for {wildcards.llama}"
    script:
        "../scripts/make_llama.py"
