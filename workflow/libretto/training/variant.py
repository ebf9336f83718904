"""The training of a variant: its base model, its songs, its prompts, put together from the config's settings."""

from pathlib import Path

import torch

from libretto.models.adapter import add_adapter
from libretto.models.batches import MiddleChunks, TrainingChunks, load_split
from libretto.models.device import select_device
from libretto.models.variants import base_model, make_variant
from libretto.training.trainer import train


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
        base: folder of the pretrained model.
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
    model = base_model(variant_settings, base, text_model, init_from)
    if adapter := variant_settings.get("adapter"):
        add_adapter(model, adapter)
    variant = make_variant(model, variant_settings, text, text_model, select_device())
    cache = str(folder / "splits")
    n_items, dropout = training["max_steps"] * training["batch_size"], text["description_dropout"]
    shuffled = variant_settings["descriptions"] == "shuffled"
    train_set = TrainingChunks(load_split(train_split, cache), n_items, variant.prompter, dropout, seed, shuffled)
    valid_set = MiddleChunks(load_split(valid_split, cache), variant.prompter)
    return train(variant, train_set, valid_set, training, seed, folder, checkpoint_minutes, may_diverge)
