"""What a training leaves: the best model so far, and in the end its result, with the log as one row per step."""

import json
import shutil
from pathlib import Path

import pandas
import torch

from libretto.files import folder_sha256, follow_umask, remove
from libretto.training.resume import FINISHED, link_tree, mark_complete


def is_better(folder: Path, scores: dict) -> bool:
    """Whether the `val_loss` is lower than that of the model kept under `folder`, if there is one."""
    kept = best_model(folder)
    return kept is None or scores["val_loss"] < read_scores(kept)["val_loss"]  # a NaN is no better


def keep(model: torch.nn.Module, folder: Path, scores: dict, weights: dict[str, torch.Tensor] | None = None) -> Path:
    """Keep a model as the best one.

    Args:
        model: with the config to keep.
        folder: the training's.
        scores: the step and the validation losses.
        weights: what to keep instead of the model's own.

    Returns:
        Where it is kept.
    """
    # A resumed training reaches the same step again: its model gets another name, so that the previous one stays until
    # the new one is whole.
    target = folder / f"best-{scores['step']}-{scores['val_loss']!r}"
    partial = target.with_name(f"partial-{target.name}")
    shutil.rmtree(partial, ignore_errors=True)
    model.save_pretrained(partial, state_dict=weights)
    follow_umask(partial)
    (partial / "scores.json").write_text(json.dumps(scores))
    partial.rename(target)
    for path in folder.glob("best-*"):
        if path != target:
            remove(path)
    return target


def best_model(folder: Path) -> Path | None:
    """The folder of the best model so far; None if there is none."""
    whole = (path.parent for path in folder.glob("best-*/scores.json"))  # not one whose removal was interrupted
    return min(whole, key=lambda path: read_scores(path)["val_loss"], default=None)


def read_scores(kept: Path) -> dict:
    """The step and the validation losses of a kept model."""
    return json.loads((kept / "scores.json").read_text())


def write_result(folder: Path, log: list[dict], with_model: bool) -> None:
    """Put a finished training's result where a later call finds it: `FINISHED` in its folder, never half written.

    Args:
        folder: the training's.
        log: what `train` returned.
        with_model: whether the best model and the TensorBoard events are part of it; its scores and the log always are.
    """
    partial = folder / f"partial-{FINISHED}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    kept = best_model(folder)
    assert kept is not None  # the validation before the first step has kept one
    if with_model:
        link_tree(kept, partial / "model")
        (partial / "model" / "scores.json").unlink()
        link_tree(folder / "tensorboard", partial / "tensorboard")
    # What a model is, is told by a small file: Snakemake compares contents of files, not of folders.
    digest = {"model_sha256": folder_sha256(partial / "model")} if with_model else {}
    (partial / "best.json").write_text(json.dumps(read_scores(kept) | digest, indent=1) + "\n")
    pandas.DataFrame(log).to_parquet(partial / "log.parquet", index=False)
    mark_complete(partial)
    partial.rename(folder / FINISHED)


def merge_log(history: list[dict], epochs_per_step: float) -> list[dict]:
    """The Trainer's log as one row per step: losses, rate, speed, memory; None if not logged.

    Args:
        history: the `log_history` of the Trainer's state.
        epochs_per_step: batch size over songs; the Trainer's own epoch is the whole training.
    """
    names = {
        "loss": "loss",
        "eval_loss": "val_loss",
        "eval_loss_music": "val_loss_music",
        "learning_rate": "lr",
        "grad_norm": "grad_norm",
        "tokens_per_s": "tokens_per_s",
        "seconds": "seconds",
        "memory_gb": "memory_gb",
    }
    rows: dict[int, dict] = {}
    for entry in history:
        values = {names[key]: float(value) for key, value in entry.items() if key in names}
        if values:
            step = entry["step"]
            empty = {"step": step, "epoch": step * epochs_per_step, **dict.fromkeys(names.values())}
            rows.setdefault(step, empty).update(values)
    return [rows[step] for step in sorted(rows)]
