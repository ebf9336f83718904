"""What a training takes at its real size, by doing a little of it."""

import time
from pathlib import Path

import torch
from transformers import TrainerCallback

from libretto.models.device import peak_memory
from libretto.models.variants import Variant
from libretto.preflight.device import count_operations
from libretto.preflight.models import PROMPT_TOKENS, RandomSongs
from libretto.training.resume import find_damage
from libretto.training.trainer import Checkpoints, MusicTrainer
from libretto.training.validation import BATCH, validation_loss
from libretto.training.variant import training_arguments


def measure_training(
    variant: Variant, settings: dict, chunk_tokens: int, steps: int, n_valid: int, folder: Path
) -> dict:
    """Steps of training at the configured batch, a validation, a checkpoint, and a resumption from it.

    Args:
        variant: of random weights.
        settings: its section `training` of the config.
        chunk_tokens: music tokens of a sequence.
        steps: of training; speed is that of the last 10 or fewer.
        n_valid: songs of a validation.
        folder: an empty folder on the disk that checkpoints will be written to.

    Returns:
        n_parameters, sequences_per_s, tokens_per_s, operations (of a sequence), songs_per_s (of a validation),
        checkpoint_s and resume_s, bytes written for a checkpoint and for the best model, peak memory in GB.

    Raises:
        torch.OutOfMemoryError: the GPU's memory is too small.
        RuntimeError: resuming did not restore the model.
    """
    settings = {**settings, "learning_rate": 1e-5, "max_steps": steps, "eval_steps": steps, "warmup_steps": 0}
    songs, valid = RandomSongs(steps * settings["batch_size"], chunk_tokens), RandomSongs(n_valid, chunk_tokens)

    def make_trainer(*callbacks):
        arguments = training_arguments(settings, 0, folder, 1)
        arguments._n_gpu = min(arguments.n_gpu, 1)
        arguments.report_to = []
        return MusicTrainer(
            variant, settings, args=arguments, train_dataset=songs, eval_dataset=valid, callbacks=[*callbacks]
        )

    bf16 = settings["precision"] == "bf16"
    validation_loss(variant, valid, BATCH, bf16)  # so that what it compiles is not taken for a checkpoint's time
    times = _Times()
    trainer = make_trainer(Checkpoints(0), times)
    n_operations = operations(trainer)
    trainer.train()
    memory = peak_memory()
    log = next(row for row in reversed(trainer.state.log_history) if "tokens_per_s" in row)
    targets = chunk_tokens - 1 + (0 if variant.encoder else PROMPT_TOKENS)

    start = time.perf_counter()
    validation_loss(variant, valid, BATCH, bf16)
    validation_s = time.perf_counter() - start
    best_s = max(0.0, times.evaluated - times.stepped - validation_s)  # the first one also kept the best model

    checkpoint = folder / f"checkpoint-{steps}"
    expected = _sums(variant)
    del trainer
    with torch.no_grad():
        for weights in variant.model.parameters():
            weights.zero_()
    start = time.perf_counter()
    problem = find_damage(checkpoint)
    make_trainer().train(resume_from_checkpoint=str(checkpoint))
    if problem or _sums(variant) != expected:
        raise RuntimeError(f"{checkpoint} cannot be resumed from: {problem or 'the weights differ'}")
    return {
        "n_parameters": sum(parameter.numel() for parameter in variant.model.parameters()),
        "sequences_per_s": log["tokens_per_s"] / targets,
        "tokens_per_s": log["tokens_per_s"],
        "operations": n_operations,
        "songs_per_s": n_valid / validation_s,
        "checkpoint_s": times.saved - times.evaluated + best_s,
        "resume_s": time.perf_counter() - start,
        "checkpoint_bytes": _size(checkpoint),
        "best_bytes": sum(map(_size, folder.glob("best-*"))),
        "memory_gb": memory / 1e9,
    }


class _Times(TrainerCallback):
    """When the last step ended, when its validation did, and when its checkpoint was whole."""

    stepped = evaluated = saved = 0.0

    def on_step_end(self, args, state, control, **kwargs):
        control.should_log |= state.global_step == state.max_steps
        self.stepped = time.perf_counter()

    def on_evaluate(self, args, state, control, **kwargs):
        self.evaluated = time.perf_counter()

    def on_save(self, args, state, control, **kwargs):
        self.saved = time.perf_counter()


def _sums(variant: Variant) -> list[float]:
    return [weights.detach().double().abs().sum().item() for weights in variant.model.parameters()]


def operations(trainer: MusicTrainer) -> int:
    """Of the forward and backward pass of one sequence, its text encoder included."""
    trainer.model.train()

    def run():
        batch = trainer._prepare_inputs(trainer.data_collator([trainer.train_dataset[0]]))
        with trainer.compute_loss_context_manager():
            trainer.model(**batch).loss.backward()

    n_operations = count_operations(run)
    trainer.model.zero_grad()
    return n_operations


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
