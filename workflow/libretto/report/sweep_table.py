"""The table of the search over batch sizes and learning rates (paper, section 5.1)."""

from collections.abc import Mapping, Sequence

import pandas as pd

from libretto.config.sweep import SweepPoint
from libretto.report.presentation import markdown_table

COLUMNS = ("variant", "batch_size", "learning_rate", "max_steps", "best_step", "val_loss", "val_loss_music", "best")


def sweep_table(points: Sequence[SweepPoint], bests: Sequence[Mapping], logs: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """A row per training.

    Args:
        points: what was tried.
        bests: the lowest validation loss of each: `step`, `val_loss`, `val_loss_music`.
        logs: the log of each.

    Returns:
        `COLUMNS`; `best` marks the lowest validation loss of each variant.
    """
    rows = [
        {
            "variant": point.variant,
            "batch_size": point.batch_size,
            "learning_rate": point.learning_rate,
            "max_steps": int(log["step"].max()),
            "best_step": best["step"],
            "val_loss": best["val_loss"],
            "val_loss_music": best["val_loss_music"],
        }
        for point, best, log in zip(points, bests, logs, strict=True)
    ]
    table = pd.DataFrame(rows)
    table["best"] = table["val_loss"] == table.groupby("variant")["val_loss"].transform("min")
    return table[list(COLUMNS)]


def sweep_markdown(table: pd.DataFrame) -> str:
    """The table as Markdown: a variant's best validation loss in bold."""
    heading = ["Variant", "Batch size", "Learning rate", "Steps", "Best step", "Val loss ↓", "Val loss, music ↓"]
    rows = []
    for row in table.to_dict("records"):
        losses = [f"{row['val_loss']:.3f}", f"{row['val_loss_music']:.3f}"]
        if row["best"]:
            losses[0] = f"**{losses[0]}**"
        numbers = (row["batch_size"], f"{row['learning_rate']:g}", row["max_steps"], row["best_step"])
        rows.append([row["variant"], *map(str, numbers), *losses])
    return markdown_table(heading, rows) + "\n"
