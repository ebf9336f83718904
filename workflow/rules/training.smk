"""Section 5.1: finetuning of the variants, their validation losses, and Llama variants as plain Llama models."""

import json
from pathlib import Path

from libretto.config.jobs import (
    chunk_tokens,
    command_options,
    split_file,
    training_models,
    training_splits,
    variant_settings,
)

LLAMA_VARIANTS = [name for name, variant in config["variants"].items() if variant["family"] == "llama"]


# `exec`: a SIGTERM to the job's processes would end a shell at once, and with it the job, before the training has
# saved its checkpoint.
# One process needs no torchrun, and saves DDP's copy of the gradients.
# The checkpoints lie outside the outputs, which Snakemake deletes when a job fails or starts again.
# PYTHONSAFEPATH keeps scripts that are named after rules, such as tokenize.py, from hiding Python's own modules.
TRAIN_COMMAND = """
export PYTHONSAFEPATH=1
launcher=(python)
if [ {resources.nodes} -gt 1 ]; then
    launcher=(srun --nodes {resources.nodes} --ntasks {resources.nodes} --ntasks-per-node 1 --cpus-per-task {threads} \
        bash "$LIBRETTO_SCRIPTS/launch.sh" \
        --nnodes {resources.nodes} --nproc-per-node $(({resources.gpu} / {resources.nodes})) \
        --rdzv-backend c10d --rdzv-id $SLURM_JOB_ID --rdzv-endpoint $(hostname):$((29500 + SLURM_JOB_ID % 1000)))
elif [ {resources.gpu} -gt 1 ]; then
    launcher=(bash "$LIBRETTO_SCRIPTS/launch.sh" --standalone --nproc-per-node {resources.gpu})
fi
exec "${{launcher[@]}}" "$LIBRETTO_SCRIPTS/train.py" --settings {params.settings:q} --code {params.code} \
    --train {input.train:q} --valid {input.valid:q} \
    --base {input.base:q} --text-model {input.text_model:q} {params.init_from} \
    --checkpoints {params.checkpoints:q} --checkpoint-minutes {resources.checkpoint_minutes} \
    {params.results} --log-file {log:q}
"""


# What starts a training: its text decides results, as code does.
LAUNCHER = TRAIN_COMMAND + Path(LIBRARY_PATH, "scripts", "launch.sh").read_text()


# Seconds of work: not worth a place in a cluster's queue.
localrules:
    layer_weights,


rule train:
    input:
        unpack(lambda wildcards: models(training_models(config, wildcards.variant, "<run>"))),
        unpack(lambda wildcards: training_splits(config, wildcards.variant, "<run>")),
    output:
        model=directory("<run>/train/{variant}/model"),
        tensorboard=directory("<run>/train/{variant}/tensorboard"),
        best="<run>/train/{variant}/best.json",
        history="<run>/train/{variant}/log.parquet",
    log:
        "<run>/logs/train/{variant}.log",
    benchmark:
        "<run>/benchmarks/train/{variant}.tsv"
    # The longest jobs first.
    priority: 1
    conda:
        "../../envs/models.yaml"
    threads: 8
    resources:
        gpu=1,
        nodes=1,
        tasks_per_gpu=0,  # one task with all the GPUs of a node: torchrun starts the processes
        mem_mb=grows(lambda wildcards: training_mb(config, wildcards.variant)),
        runtime=lambda wildcards: training_minutes(config, wildcards.variant),
        # Not a param: results do not depend on it, and a change must rerun nothing.
        checkpoint_minutes=config["checkpoint_minutes"],
    params:
        contents=lambda wildcards: contents(training_models(config, wildcards.variant, "<run>").values()),
        settings=lambda wildcards: json.dumps(variant_settings(config, wildcards.variant), sort_keys=True),
        checkpoints=lambda wildcards: f"results/{config['run']}/checkpoints/{wildcards.variant}",
        init_from=lambda wildcards, input: command_options({"init-from": input.get("init_from")}),
        results=lambda wildcards, output: command_options(dict(output.items())),
        code=lambda wildcards: code("train.py", LAUNCHER, unused(wildcards.variant)),
    message:
        "Training {wildcards.variant}"
    shell:
        TRAIN_COMMAND


rule validate:
    input:
        unpack(
            lambda wildcards: models({"text_model": training_models(config, wildcards.variant, "<run>")["text_model"]})
        ),
        model=ancient("<run>/train/{variant}/model"),
        best="<run>/train/{variant}/best.json",
        valid=lambda wildcards: split_file(config, "valid", chunk_tokens(config, wildcards.variant), "<run>"),
    output:
        scores="<run>/metrics/validation/{variant}.json",
    log:
        "<run>/logs/validate/{variant}.log",
    benchmark:
        "<run>/benchmarks/validate/{variant}.tsv"
    conda:
        "../../envs/models.yaml"
    threads: 4
    resources:
        gpu=1,
        mem_mb=grows(lambda wildcards: training_mb(config, wildcards.variant) // 2),
        runtime=grows(60),
    params:
        contents=lambda wildcards: contents([training_models(config, wildcards.variant, "<run>")["text_model"]]),
        settings=lambda wildcards: variant_settings(config, wildcards.variant),
        code=lambda wildcards: code("validate.py", unused=unused(wildcards.variant)),
    message:
        "Validation loss of {wildcards.variant}"
    script:
        "../scripts/validate.py"


rule fold:
    input:
        unpack(
            lambda wildcards: models({"text_model": training_models(config, wildcards.variant, "<run>")["text_model"]})
        ),
        model=ancient("<run>/train/{variant}/model"),
        best="<run>/train/{variant}/best.json",
    output:
        model=directory("<run>/train/{variant}/folded"),
    log:
        "<run>/logs/fold/{variant}.log",
    benchmark:
        "<run>/benchmarks/fold/{variant}.tsv"
    wildcard_constraints:
        variant=one_of(LLAMA_VARIANTS),
    conda:
        "../../envs/models.yaml"
    threads: 4
    resources:
        mem_mb=grows(lambda wildcards: training_mb(config, wildcards.variant) * 2 // 3),
        runtime=grows(60),
    params:
        contents=lambda wildcards: contents([training_models(config, wildcards.variant, "<run>")["text_model"]]),
        chunk_tokens=lambda wildcards: chunk_tokens(config, wildcards.variant),
        code=code("fold.py"),
    message:
        "{wildcards.variant} as a plain LlamaForCausalLM"
    script:
        "../scripts/fold.py"


rule layer_weights:
    input:
        model=ancient("<run>/train/{variant}/model"),
        best="<run>/train/{variant}/best.json",
    output:
        weights="<run>/train/{variant}/layer_weights.json",
    log:
        "<run>/logs/layer_weights/{variant}.log",
    benchmark:
        "<run>/benchmarks/layer_weights/{variant}.tsv"
    conda:
        "../../envs/models.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        code=code("layer_weights.py"),
    message:
        "The text encoder's layers in {wildcards.variant}"
    script:
        "../scripts/layer_weights.py"
