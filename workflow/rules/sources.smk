"""The data and the pretrained models, downloaded where the config names no copy of your own (`path:`)."""

from libretto.config.sources import config_key, download_entry, missing_path_message, missing_paths


# Compute nodes often have no network: downloads run where Snakemake itself runs.
localrules:
    download_lmd,
    download_midicaps,
    download_soundfont,
    download_checkpoint,
    download_model,


rule download_lmd:
    output:
        file="<run>/sources/lmd.tar.gz",
    log:
        "<run>/logs/download_lmd.log",
    benchmark:
        "<run>/benchmarks/download_lmd.tsv"
    conda:
        "../../envs/data.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=720,
    params:
        entry=download_entry(config, "lmd"),
        key=config_key("lmd"),
        code=code("download.py"),
    message:
        "Downloading LMD"
    script:
        "../scripts/download.py"


use rule download_lmd as download_midicaps with:
    output:
        file="<run>/sources/midicaps.json",
    log:
        "<run>/logs/download_midicaps.log",
    benchmark:
        "<run>/benchmarks/download_midicaps.tsv"
    params:
        entry=download_entry(config, "midicaps"),
        key=config_key("midicaps"),
        code=code("download.py"),
    message:
        "Downloading MidiCaps"


use rule download_lmd as download_soundfont with:
    output:
        file="<run>/sources/soundfont.sf2",
    log:
        "<run>/logs/download_soundfont.log",
    benchmark:
        "<run>/benchmarks/download_soundfont.tsv"
    params:
        entry=download_entry(config, "soundfont"),
        key=config_key("soundfont"),
        code=code("download.py"),
    message:
        "Downloading the soundfont"


use rule download_lmd as download_checkpoint with:
    output:
        file="<run>/sources/checkpoints/{model}",
    log:
        "<run>/logs/download_checkpoint/{model}.log",
    benchmark:
        "<run>/benchmarks/download_checkpoint/{model}.tsv"
    params:
        entry=lambda wildcards: download_entry(config, wildcards.model),
        key=lambda wildcards: config_key(wildcards.model),
        code=code("download.py"),
    message:
        "Downloading {wildcards.model}"


use rule download_lmd as download_model with:
    output:
        folder=directory("<run>/sources/models/{model}"),
        sha256="<run>/sources/models/{model}.sha256",
    log:
        "<run>/logs/download_model/{model}.log",
    benchmark:
        "<run>/benchmarks/download_model/{model}.tsv"
    resources:
        mem_mb=2000,
        runtime=720,
    params:
        entry=lambda wildcards: download_entry(config, wildcards.model),
        key=lambda wildcards: config_key(wildcards.model),
        code=code("download.py"),
    message:
        "Downloading {wildcards.model}"


# A `path:` that does not exist: a dry run shows it as a job, a real run that needs it stops before any job (onstart).
for path, name in missing_paths(config).items():

    rule:
        name:
            f"missing_{name}"
        output:
            path,
        message:
            missing_path_message(name, path)
