"""The training of a variant: the same batches on any number of GPUs, exact resume, the best model kept."""

import logging
import os
import sys
from pathlib import Path

import torch
from torch import distributed
from transformers import TrainingArguments

from libretto.errors import InputError
from libretto.models.adapter import add_adapter, freeze_base
from libretto.models.attention import CAUSAL
from libretto.models.batches import MiddleChunks, TrainingChunks, load_split
from libretto.models.device import select_device
from libretto.models.variants import Variant, base_model, make_variant, trained_model
from libretto.training.result import merge_log
from libretto.training.resume import newest_complete, remove_damaged
from libretto.training.sharding import ShardedTrainer
from libretto.training.trainer import Checkpoints, MusicTrainer, StopOnTerminate

LOG_STEPS = 10
TERMINATED = 143  # the exit status of a process that SIGTERM ends

logger = logging.getLogger("libretto")


def train_variant(
    settings: dict,
    train_split: str,
    valid_split: str,
    base: str,
    text_model: str,
    init_from: str | None,
    folder: Path,
    checkpoint_minutes: float,
    may_diverge: bool,
) -> list[dict]:
    """Train a variant, or resume the training.

    Args:
        settings: `variant` and `text` of the config, and `seed`.
        train_split, valid_split: the Parquet splits.
        base: folder of the pretrained model; of the trained one, for a variant that starts from another.
        text_model: folder of the Llama that reads the text.
        init_from: folder of the AMT checkpoint whose embedding is copied, if any.
        folder: where checkpoints and the best model are kept.
        checkpoint_minutes: between two checkpoints, at least.
        may_diverge: whether a loss that is not finite is a result, as in a search.

    Returns:
        The log: a dict per logged step.
    """
    variant_settings, text, seed = (settings[key] for key in ("variant", "text", "seed"))
    training = variant_settings["training"]
    torch.manual_seed(seed)
    if "start" in variant_settings:
        model = trained_model(variant_settings, base, torch.float32)
    else:
        model = base_model(variant_settings, base, text_model, init_from)
    if adapter := variant_settings.get("adapter"):
        add_adapter(model, adapter)
    if "freeze" in variant_settings:
        freeze_base(model)
    variant = make_variant(model, variant_settings, text, text_model, select_device())
    cache = str(folder / "splits")
    n_items, dropout = training["max_steps"] * training["batch_size"], text["description_dropout"]
    shuffled = variant_settings["descriptions"] == "shuffled"
    at_random = variant_settings["chunks"] == "random"
    songs = load_split(train_split, cache)
    train_set = TrainingChunks(songs, n_items, variant.prompter, dropout, seed, shuffled, at_random)
    valid_set = MiddleChunks(load_split(valid_split, cache), variant.prompter)
    return train(variant, train_set, valid_set, training, seed, folder, checkpoint_minutes, may_diverge)


def train(
    variant: Variant,
    train_set: TrainingChunks,
    valid_set: MiddleChunks,
    settings: dict,
    seed: int,
    folder: Path,
    checkpoint_minutes: float,
    may_diverge: bool = False,
) -> list[dict]:
    """Train `variant`, or resume an interrupted training of it; exits with status 143 after SIGTERM.

    The best model by validation loss is left in `best_model(folder)`.

    Args:
        variant: its model is trained in place.
        train_set: exactly the items that the training takes, in order.
        valid_set: what validation losses are measured on.
        settings: the variant's section `training` of the config.
        seed: of dropout.
        folder: where checkpoints, the best model and TensorBoard events are written.
        checkpoint_minutes: a checkpoint is written at the first validation after so many minutes.
        may_diverge: a loss that is not finite ends the training, as in a search, instead of being an error.

    Returns:
        The log: a dict per logged step.

    Raises:
        InputError: the batch cannot be divided among the processes, or no checkpoint can be resumed from.
        FloatingPointError: the loss is not finite, without `may_diverge`.
    """
    os.environ["TENSORBOARD_LOGGING_DIR"] = str(folder / "tensorboard")
    world = int(os.environ.get("WORLD_SIZE", "1"))
    arguments = training_arguments(settings, seed, folder, world)
    if world == 1:
        # One process trains on one GPU, however many it sees: the Trainer would spread each micro-batch over all of
        # them (DataParallel), which changes the batch and the loss.
        arguments._n_gpu = min(arguments.n_gpu, 1)
    variant.model.set_attn_implementation(CAUSAL)
    train_set.n_ahead = arguments.gradient_accumulation_steps + 1  # the Trainer draws a step's batches at once
    kind = ShardedTrainer if settings["shard"] and world > 1 else MusicTrainer
    trainer = kind(variant, settings, args=arguments, train_dataset=train_set, eval_dataset=valid_set)
    if trainer.is_world_process_zero():
        remove_damaged(folder)
    if distributed.is_initialized():
        distributed.barrier()
    checkpoint = newest_complete(folder, world)
    if checkpoint is None:
        arguments.eval_on_start = True
    else:
        logger.info("resuming from %s", checkpoint)
    trainer.add_callback(Checkpoints(checkpoint_minutes))
    trainer.add_callback(StopOnTerminate())
    diverged = False
    try:
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    except FloatingPointError as error:
        if not may_diverge:
            raise
        logger.warning("%s: the training ends here", error)
        diverged = True
    if not diverged and trainer.state.global_step < settings["max_steps"]:
        logger.error(
            "terminated at step %d of %d; its checkpoint is saved", trainer.state.global_step, settings["max_steps"]
        )
        sys.exit(TERMINATED)
    return merge_log(trainer.state.log_history, settings["batch_size"] / len(train_set.songs))


def training_arguments(settings: dict, seed: int, folder: Path, world: int) -> TrainingArguments:
    """Table 2's settings as the HF Trainer's arguments; the batch is the configured one for any number of processes.

    Raises:
        InputError: the batch cannot be divided among the processes.
    """
    batch = settings["batch_size"]
    if batch % world:
        raise InputError(
            f"training.batch_size {batch} is not a multiple of {world} processes: change the number of GPUs"
        )
    share = batch // world
    micro = max(size for size in range(1, settings["micro_batch_size"] + 1) if share % size == 0)
    on_gpu = torch.cuda.is_available()
    return TrainingArguments(
        output_dir=str(folder),
        max_steps=settings["max_steps"],
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=share // micro,
        gradient_checkpointing=settings["gradient_checkpointing"],
        gradient_checkpointing_kwargs={"use_reentrant": False},
        learning_rate=settings["learning_rate"],
        lr_scheduler_type="cosine",
        warmup_steps=settings["warmup_steps"],
        optim="adamw_torch_fused",
        bf16=settings["precision"] == "bf16",
        tf32=True if on_gpu else None,
        use_cpu=not on_gpu,
        seed=seed,
        train_sampling_strategy="sequential",
        # Prompts and chunks are cheap. And a scheduler sends SIGTERM to the whole process group: it would kill workers,
        # and with them the training before it has saved its checkpoint.
        dataloader_num_workers=0,
        accelerator_config={"non_blocking": True},  # from pinned memory; else each copy waits for the GPU
        remove_unused_columns=False,
        ddp_find_unused_parameters=False,
        eval_strategy="steps",
        eval_steps=settings["eval_steps"],
        save_strategy="steps",
        save_steps=settings["eval_steps"],
        save_total_limit=None,  # `Checkpoints` removes old ones: the Trainer goes by modification times
        logging_steps=LOG_STEPS,
        logging_nan_inf_filter=False,  # it would hide them from the log, and wait for the GPU at every micro-batch
        report_to=["tensorboard"],
    )
