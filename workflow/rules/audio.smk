"""Sections 5.1 and 5.3: the music of every system, and FAD's reference set, as audio and as embeddings."""

from libretto.config.embeddings import EMBEDDINGS, expected_sha256

FAD_EMBEDDING = config["metrics"]["fad_embedding"]
EMBEDDERS = {name: f"libretto/audio/embeddings/{name}.py" for name in EMBEDDINGS}


rule render:
    input:
        tokens="<run>/samples/{system}/tokens.parquet",
        midi=ancient("<run>/samples/{system}/midi"),
        soundfont=source("soundfont"),
    output:
        audio=directory("<run>/audio/{system}"),
        list="<run>/audio/{system}.csv",
    log:
        "<run>/logs/render/{system}.log",
    benchmark:
        "<run>/benchmarks/render/{system}.tsv"
    wildcard_constraints:
        system=one_of(name for name, system in ALL_SYSTEMS.items() if system.heard_as == name),
    conda:
        "../../envs/audio.yaml"
    threads: 8
    resources:
        mem_mb=grows(8000),
        runtime=grows(60),
    params:
        contents=source_contents("soundfont"),
        sample_rate=config["audio"]["sample_rate"],
        trim_db=config["audio"]["trim_db"],
        code=code("render.py"),
    message:
        "Rendering {wildcards.system}"
    script:
        "../scripts/render.py"


rule embed_fad:
    input:
        audio=ancient("<run>/audio/{system}"),
        list="<run>/audio/{system}.csv",
        weights=lambda wildcards: [source(model)(wildcards) for model in EMBEDDINGS[FAD_EMBEDDING].models],
    output:
        embeddings="<run>/embeddings/{system}/fad.parquet",
    log:
        "<run>/logs/embed_fad/{system}.log",
    benchmark:
        "<run>/benchmarks/embed_fad/{system}.tsv"
    wildcard_constraints:
        system=one_of([*WITH_FAD, FAD_REFERENCE.name]),
    conda:
        "../../envs/audio.yaml"
    # Beside a GPU, reading clips and making their spectrograms takes three times as long as the network.
    threads: 4 if EMBEDDINGS[FAD_EMBEDDING].gpus else 1
    resources:
        gpu=EMBEDDINGS[FAD_EMBEDDING].gpus,
        mem_mb=grows(8000),
        runtime=grows(120),
    params:
        contents=source_contents(*EMBEDDINGS[FAD_EMBEDDING].models),
        embedding=FAD_EMBEDDING,
        sha256=expected_sha256(config, FAD_EMBEDDING),
        code=code(
            "embed_fad.py",
            unused=[path for name, path in EMBEDDERS.items() if name != FAD_EMBEDDING],
        ),
    message:
        "{params.embedding} embeddings of {wildcards.system}"
    script:
        "../scripts/embed_fad.py"


rule embed_clap:
    input:
        audio=lambda wildcards: ancient(f"<run>/audio/{ALL_SYSTEMS[wildcards.system].heard_as}"),
        list=lambda wildcards: f"<run>/audio/{ALL_SYSTEMS[wildcards.system].heard_as}.csv",
        tokens="<run>/samples/{system}/tokens.parquet",
        clap=source("clap"),
        roberta=source("roberta-base"),
    output:
        embeddings="<run>/embeddings/{system}/clap.parquet",
    log:
        "<run>/logs/embed_clap/{system}.log",
    benchmark:
        "<run>/benchmarks/embed_clap/{system}.tsv"
    conda:
        "../../envs/audio.yaml"
    threads: 4
    resources:
        gpu=1,
        mem_mb=grows(16000),
        runtime=grows(60),
    params:
        contents=source_contents("clap", "roberta-base"),
        sha256=expected_sha256(config, "clap"),
        code=code("embed_clap.py", unused=[path for name, path in EMBEDDERS.items() if name != "clap"]),
    message:
        "CLAP embeddings of {wildcards.system}"
    script:
        "../scripts/embed_clap.py"


rule embed_clamp2:
    input:
        midi=ancient("<run>/samples/{system}/midi"),
        tokens="<run>/samples/{system}/tokens.parquet",  # which tells what is in the folder
        clamp2=source("clamp2"),
    output:
        embeddings="<run>/embeddings/{system}/clamp2.parquet",
    log:
        "<run>/logs/embed_clamp2/{system}.log",
    benchmark:
        "<run>/benchmarks/embed_clamp2/{system}.tsv"
    wildcard_constraints:
        system=one_of([*WITH_FAD, FAD_REFERENCE.name]),
    conda:
        "../../envs/audio.yaml"
    threads: 1
    resources:
        gpu=EMBEDDINGS["clamp2"].gpus,
        mem_mb=grows(8000),
        runtime=grows(60),
    params:
        contents=source_contents("clamp2"),
        sha256=expected_sha256(config, "clamp2"),
        code=code("embed_clamp2.py", unused=[path for name, path in EMBEDDERS.items() if name != "clamp2"]),
    message:
        "CLaMP 2 embeddings of {wildcards.system}"
    script:
        "../scripts/embed_clamp2.py"
