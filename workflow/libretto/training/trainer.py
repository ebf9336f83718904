"""Training with the HF Trainer: the same batches on any number of GPUs, exact resume, the best model kept."""

import logging
import math
import os
import signal
import sys
import time
from functools import partial
from pathlib import Path

import torch
from torch import distributed
from transformers import Trainer, TrainerCallback, TrainerControl, TrainingArguments
from transformers.trainer import TRAINING_ARGS_NAME

from libretto.errors import InputError
from libretto.files import follow_umask
from libretto.models.adapter import is_adapted
from libretto.models.attention import CAUSAL
from libretto.models.batches import MiddleChunks, TrainingChunks
from libretto.models.device import peak_memory
from libretto.models.variants import Variant
from libretto.training.compilation import compile_parts
from libretto.training.result import keep_if_best, merge_log
from libretto.training.resume import link_tree, mark_complete, newest_complete, remove_damaged, remove_old
from libretto.training.validation import BATCH, validation_loss

LOG_STEPS = 10
STOP_STEPS = 10  # with several processes and short steps, how often they ask each other whether to stop
TERMINATED = 143  # the exit status of a process that SIGTERM ends

logger = logging.getLogger("libretto")


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
    trainer = MusicTrainer(variant, settings, args=arguments, train_dataset=train_set, eval_dataset=valid_set)
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


class MusicTrainer(Trainer):
    """The HF Trainer with this project's inputs, validation and log."""

    optimizer: torch.optim.Optimizer | None
    control: TrainerControl

    def __init__(self, variant: Variant, settings: dict, **kwargs):
        super().__init__(model=variant.model, data_collator=variant.collate, **kwargs)
        if torch.cuda.is_available() and settings["compile"]:
            compile_parts(variant.model)
        self.variant = variant
        self.settings = settings
        self.seconds: float | None = None  # of training, without validation, up to the last logged step
        self.just_kept: tuple[int, Path | None] = (0, None)  # by the last validation: its step, and the best model
        self.tokens = torch.zeros((), dtype=torch.float64)
        self.window_start = time.perf_counter()

    def _build_accelerator_args(self, **kwargs):
        """With several GPUs, gradients live in DDP's buckets: a second copy of them would not fit beside Llama 3B."""
        arguments = super()._build_accelerator_args(**kwargs)
        for handler in arguments["kwargs_handlers"]:
            handler.gradient_as_bucket_view = True
        return arguments

    def training_step(self, model, *args, **kwargs):
        """The HF Trainer's, but gradients in DDP's buckets are set to zero, not freed and allocated again."""
        if self.args.world_size > 1:
            model.zero_grad = partial(type(model).zero_grad, model, set_to_none=False)
        return super().training_step(model, *args, **kwargs)

    def _prepare_inputs(self, inputs):
        return self.variant.encode(super()._prepare_inputs(inputs))

    def create_optimizer(self, model=None):
        """AdamW, with a parameter's own learning rate where the config gives one."""
        if self.optimizer is None:
            rates = {
                "text_prefix.projection.": self.settings.get("projection_learning_rate"),
                "text_prefix.layer_weights": self.settings.get("layer_weights_learning_rate"),
            }
            groups: dict[float, list] = {}
            trained = (
                (name, parameter) for name, parameter in self.model.named_parameters() if parameter.requires_grad
            )
            for name, parameter in trained:
                own = next((rate for prefix, rate in rates.items() if rate and name.startswith(prefix)), None)
                groups.setdefault(own or self.args.learning_rate, []).append(parameter)
            optimizer_class, options = self.get_optimizer_cls_and_kwargs(self.args, self.model)
            # The main rate first: the log shows the first group's.
            order = sorted(groups, key=lambda rate: rate != self.args.learning_rate)
            # A group without weight_decay would get torch's default of 0.01.
            self.optimizer = optimizer_class(
                [{"params": groups[rate], "lr": rate, "weight_decay": self.args.weight_decay} for rate in order],
                **options,
            )
        return self.optimizer

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """The HF Trainer's loss; also counts the trained tokens."""
        self.tokens = self.tokens.to(num_items_in_batch.device)
        self.tokens += num_items_in_batch / self.current_gradient_accumulation_steps
        return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)

    def evaluate(self, *args, **kwargs):
        """The loss on the validation set; the best model so far is kept."""
        start = time.perf_counter()
        scores = validation_loss(
            self.variant,
            self.eval_dataset,
            BATCH,
            self.args.bf16,
            self.args.process_index,
            self.args.world_size,
        )
        metrics = {"eval_loss": scores["val_loss"], "eval_loss_music": scores["val_loss_music"]}
        if self.is_world_process_zero():
            step = self.state.global_step
            self.just_kept = step, keep_if_best(self.model, Path(self.args.output_dir), {"step": step, **scores})
        self.window_start += time.perf_counter() - start
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _save(self, output_dir=None, state_dict=None):
        """The HF Trainer's; but weights that have just been kept as the best are linked, not written again."""
        step, kept = self.just_kept
        if kept is None or step != self.state.global_step or is_adapted(self.model):  # whose best model is merged
            return super()._save(output_dir, state_dict)
        link_tree(kept, Path(output_dir))
        (Path(output_dir) / "scores.json").unlink()
        torch.save(self.args, Path(output_dir) / TRAINING_ARGS_NAME)

    def log(self, logs, start_time=None):
        """Add speed and memory to a training step's log.

        Raises:
            FloatingPointError: the loss is not finite.
        """
        if "loss" in logs:
            if not math.isfinite(logs["loss"]):
                raise FloatingPointError(f"the training loss is {logs['loss']} at step {self.state.global_step}")
            if self.seconds is None:  # continue an interrupted run's clock
                self.seconds = max((row.get("seconds", 0.0) for row in self.state.log_history), default=0.0)
            now = time.perf_counter()
            self.seconds += now - self.window_start
            logs["tokens_per_s"] = self.tokens.item() / (now - self.window_start)
            logs["seconds"] = self.seconds
            logs["memory_gb"] = peak_memory() / 1e9
            self.tokens.zero_()
            self.window_start = now
        super().log(logs, start_time)


class Checkpoints(TrainerCallback):
    """Writes a checkpoint at the first validation after some minutes; marks it as complete, removes old ones.

    At every validation, the 60 checkpoints of a 3B model would take 2.6 TB of writing.

    Args:
        minutes: between two checkpoints.
    """

    def __init__(self, minutes: float):
        self.seconds = 60 * minutes
        self.saved = time.monotonic()

    def on_step_end(self, args, state, control, **kwargs):
        """The Trainer wants to save at every validation; all processes agree on whether to."""
        if control.should_save:
            control.should_save = on_any_process(time.monotonic() - self.saved >= self.seconds, args.device)

    def on_save(self, args, state, control, **kwargs):
        """Called after a checkpoint."""
        if distributed.is_initialized():
            distributed.barrier()
        if state.is_world_process_zero:
            folder = Path(args.output_dir)
            checkpoint = folder / f"checkpoint-{state.global_step}"
            follow_umask(checkpoint)
            mark_complete(checkpoint)
            remove_old(folder)
        self.saved = time.monotonic()


class StopOnTerminate(TrainerCallback):
    """After SIGTERM (a job's time limit, preemption): finish the step, save a checkpoint, stop."""

    def __init__(self):
        self.terminated = False
        signal.signal(signal.SIGTERM, self._handle)

    def _handle(self, number, frame):
        self.terminated = True

    def on_step_end(self, args, state, control, **kwargs):
        """All processes stop at the same step, even if the signal reached them at different ones."""
        last = state.global_step == state.max_steps
        # Asking means waiting for the other processes and for the GPU: at every step only where steps are long.
        is_long = args.gradient_accumulation_steps > 1
        asks = not distributed.is_initialized() or last or is_long or state.global_step % STOP_STEPS == 0
        terminated = asks and on_any_process(self.terminated, args.device)
        if terminated:
            control.should_save = control.should_training_stop = True
        if terminated or last:
            control.should_log = True


def on_any_process(flag: bool, device: torch.device) -> bool:
    """Whether the flag is set on any of the training's processes."""
    if not distributed.is_initialized():
        return flag
    flags = torch.tensor(int(flag), device=device)
    distributed.all_reduce(flags, distributed.ReduceOp.MAX)
    return bool(flags)
