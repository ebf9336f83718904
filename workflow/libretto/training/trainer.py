"""The HF Trainer with this project's inputs, validation, log and checkpoints."""

import logging
import math
import signal
import time
from functools import partial
from pathlib import Path

import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel
from transformers import Trainer, TrainerCallback, TrainerControl
from transformers.trainer import TRAINING_ARGS_NAME

from libretto.files import follow_umask
from libretto.models.adapter import is_adapted, merged_state
from libretto.models.device import peak_memory
from libretto.models.variants import Variant
from libretto.training.compilation import compile_parts
from libretto.training.result import is_better, keep
from libretto.training.resume import link_tree, mark_complete, remove_old
from libretto.training.validation import BATCH, validation_loss

STOP_STEPS = 10  # with several processes and short steps, how often they ask each other whether to stop

logger = logging.getLogger("libretto")


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
        self.just_kept: tuple[int, Path | None] = (-1, None)  # the step of the best model, and (first process) where
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
        if isinstance(model, DistributedDataParallel):
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
        step, folder = self.state.global_step, Path(self.args.output_dir)
        if on_any_process(self.is_world_process_zero() and is_better(folder, scores), self.args.device):
            weights = self.weights_to_keep()
            kept = keep(self.model, folder, {"step": step, **scores}, weights) if self.args.should_save else None
            self.just_kept = step, kept
        self.window_start += time.perf_counter() - start
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def weights_to_keep(self) -> dict[str, torch.Tensor] | None:
        """The weights of the best model; None if they are the model's own. All processes call it."""
        # An adapter is merged, so that whoever reads the model need not know of it.
        return merged_state(self.model) if is_adapted(self.model) and self.args.should_save else None

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
