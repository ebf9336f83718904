"""Pairs of text and music, tokens, splits (paper, section 5.2)."""

from libretto.config.jobs import chunk_tokens, split_file

HEX_DIGITS = list("0123456789abcdef")
LENGTHS = {str(chunk_tokens(config, variant)) for variant in config["variants"]}


# Seconds of work: not worth a place in a cluster's queue.
localrules:
    test_prompts,
    summarize,
    figure_dataset,


rule pack_corpus:
    input:
        midi=own(source_path(config, "lmd", "<run>/sources")),
        descriptions=own(source_path(config, "midicaps", "<run>/sources")),
    output:
        archive="<run>/sources/corpus.tar.gz",
        captions="<run>/sources/corpus.json",
    log:
        "<run>/logs/pack_corpus.log",
    benchmark:
        "<run>/benchmarks/pack_corpus.tsv"
    conda:
        "../../envs/data.yaml"
    threads: 1
    resources:
        mem_mb=grows(4000),
        runtime=grows(60),
    params:
        contents=lambda wildcards: contents(source_path(config, name, "") for name in ("lmd", "midicaps")),
        code=code("pack_corpus.py"),
    message:
        "Packing a corpus of your own"
    script:
        "../scripts/pack_corpus.py"


rule shard:
    input:
        archive=source("lmd"),
    output:
        midi=expand("<run>/data/midi/{hex}.parquet", hex=HEX_DIGITS),
        members="<run>/data/members.parquet",
    log:
        "<run>/logs/shard.log",
    benchmark:
        "<run>/benchmarks/shard.tsv"
    conda:
        "../../envs/data.yaml"
    threads: 1
    resources:
        mem_mb=grows(2000),
        runtime=grows(60),
    params:
        contents=source_contents("lmd"),
        code=code("shard.py"),
    message:
        "Reading the MIDI archive"
    script:
        "../scripts/shard.py"


rule pair:
    input:
        midicaps=source("midicaps"),
        members="<run>/data/members.parquet",
    output:
        pairs="<run>/data/pairs.parquet",
        unpaired="<run>/data/unpaired.parquet",
    log:
        "<run>/logs/pair.log",
    benchmark:
        "<run>/benchmarks/pair.tsv"
    conda:
        "../../envs/data.yaml"
    threads: 1
    resources:
        mem_mb=grows(2000),
        runtime=grows(30),
    params:
        contents=source_contents("midicaps"),
        splits=lookup(within=config, dpath="data/splits"),
        code=code("pair.py"),
    message:
        "Pairing text and music"
    script:
        "../scripts/pair.py"


rule tokenize:
    input:
        midi="<run>/data/midi/{hex}.parquet",
        pairs="<run>/data/pairs.parquet",
    output:
        tokens="<run>/data/tokens/{hex}.parquet",
        dropped="<run>/data/tokens/{hex}.dropped.parquet",
    log:
        "<run>/logs/tokenize/{hex}.log",
    benchmark:
        "<run>/benchmarks/tokenize/{hex}.tsv"
    conda:
        "../../envs/data.yaml"
    threads: 1
    resources:
        mem_mb=grows(2000),
        runtime=grows(120),
    params:
        code=code("tokenize.py"),
    message:
        "Tokenizing songs {wildcards.hex}"
    script:
        "../scripts/tokenize.py"


rule split:
    input:
        tokens=expand("<run>/data/tokens/{hex}.parquet", hex=HEX_DIGITS),
        dropped=expand("<run>/data/tokens/{hex}.dropped.parquet", hex=HEX_DIGITS),
        pairs="<run>/data/pairs.parquet",
        unpaired="<run>/data/unpaired.parquet",
    output:
        train="<run>/data/splits/train.parquet",
        valid="<run>/data/splits/valid.parquet",
        test="<run>/data/splits/test.parquet",
        background="<run>/data/splits/background.parquet",
        songs="<run>/data/songs.parquet",
        dropped="<run>/data/dropped.parquet",
    log:
        "<run>/logs/split.log",
    benchmark:
        "<run>/benchmarks/split.tsv"
    conda:
        "../../envs/data.yaml"
    threads: 1
    resources:
        mem_mb=grows(2000),
        runtime=grows(120),
    params:
        cuts=lookup(within=config, dpath="data/cuts"),
        background=lookup(within=config, dpath="data/background"),
        chunk_tokens=lookup(within=config, dpath="data/chunk_tokens"),
        long_chunks=lookup(within=config, dpath="data/long_chunks"),
        deduplicate=lookup(within=config, dpath="data/deduplicate"),
        code=code("split.py"),
    message:
        "Cutting songs into chunks"
    script:
        "../scripts/split.py"


# For the variants whose chunks have another length.
use rule split as split_at_length with:
    output:
        train="<run>/data/splits/{chunk_tokens}/train.parquet",
        valid="<run>/data/splits/{chunk_tokens}/valid.parquet",
        test="<run>/data/splits/{chunk_tokens}/test.parquet",
        background="<run>/data/splits/{chunk_tokens}/background.parquet",
        songs="<run>/data/splits/{chunk_tokens}/songs.parquet",
        dropped="<run>/data/splits/{chunk_tokens}/dropped.parquet",
    log:
        "<run>/logs/split_at_length/{chunk_tokens}.log",
    benchmark:
        "<run>/benchmarks/split_at_length/{chunk_tokens}.tsv"
    wildcard_constraints:
        chunk_tokens=one_of(LENGTHS),
    params:
        cuts=lookup(within=config, dpath="data/cuts"),
        background=lookup(within=config, dpath="data/background"),
        chunk_tokens=lambda wildcards: int(wildcards.chunk_tokens),
        long_chunks=lookup(within=config, dpath="data/long_chunks"),
        deduplicate=lookup(within=config, dpath="data/deduplicate"),
        code=code("split.py"),
    message:
        "Cutting songs into chunks of {wildcards.chunk_tokens} tokens"


# For the variants that are trained on music without text.
rule unpaired:
    input:
        midi=expand("<run>/data/midi/{hex}.parquet", hex=list(config["data"]["splits"]["train"])),
        unpaired="<run>/data/unpaired.parquet",
        tokens=expand("<run>/data/tokens/{hex}.parquet", hex=HEX_DIGITS),
        valid=lambda wildcards: split_file(config, "valid", int(wildcards.chunk_tokens), "<run>"),
    output:
        train="<run>/data/unpaired/{chunk_tokens}/train.parquet",
        valid="<run>/data/unpaired/{chunk_tokens}/valid.parquet",
        dropped="<run>/data/unpaired/{chunk_tokens}/dropped.parquet",
    log:
        "<run>/logs/unpaired/{chunk_tokens}.log",
    benchmark:
        "<run>/benchmarks/unpaired/{chunk_tokens}.tsv"
    wildcard_constraints:
        chunk_tokens=one_of(LENGTHS),
    conda:
        "../../envs/data.yaml"
    threads: 1
    resources:
        mem_mb=grows(2000),
        runtime=grows(120),
    params:
        chunk_tokens=lambda wildcards: int(wildcards.chunk_tokens),
        long_chunks=lookup(within=config, dpath="data/long_chunks"),
        code=code("unpaired.py"),
    message:
        "Songs without a caption in chunks of {wildcards.chunk_tokens} tokens"
    script:
        "../scripts/unpaired.py"


rule test_prompts:
    input:
        table=source("test_prompts"),
    output:
        prompts="<run>/data/test_prompts.parquet",
    log:
        "<run>/logs/test_prompts.log",
    benchmark:
        "<run>/benchmarks/test_prompts.tsv"
    conda:
        "../../envs/data.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        contents=source_contents("test_prompts"),
        n=config["sampling"]["n"],
        code=code("test_prompts.py"),
    message:
        "Descriptions in place of the test set's"
    script:
        "../scripts/test_prompts.py"


rule summarize:
    input:
        songs="<run>/data/songs.parquet",
        dropped="<run>/data/dropped.parquet",
        members="<run>/data/members.parquet",
        pairs="<run>/data/pairs.parquet",
        unpaired="<run>/data/unpaired.parquet",
    output:
        summary="<run>/data/summary.json",
    log:
        "<run>/logs/summarize.log",
    benchmark:
        "<run>/benchmarks/summarize.tsv"
    conda:
        "../../envs/data.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        code=code("summarize.py"),
    message:
        "Counting what became of every song"
    script:
        "../scripts/summarize.py"


rule figure_dataset:
    input:
        songs="<run>/data/songs.parquet",
        summary="<run>/data/summary.json",
    output:
        png="<run>/report/figures/dataset.png",
        svg=report(
            "<run>/report/figures/dataset.svg",
            caption="../captions/dataset.rst",
            category="Figures",
            labels={"item": "Dataset"},
        ),
    log:
        "<run>/logs/figure_dataset.log",
    benchmark:
        "<run>/benchmarks/figure_dataset.tsv"
    conda:
        "../../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        code=code("figure_dataset.py"),
    message:
        "Figure of the dataset"
    script:
        "../scripts/figure_dataset.py"
