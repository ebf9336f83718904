"""The small search over batch sizes and learning rates (report, section 5.1)."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from libretto.errors import InputError
from libretto.table import pipe_table

COLUMNS = ("variant", "batch_size", "learning_rate", "max_steps", "best_step", "val_loss", "val_loss_music", "best")


@dataclass(frozen=True)
class Point:
    """One training of the search."""

    variant: str
    batch_size: int
    learning_rate: float

    @property
    def name(self) -> str:
        """As in file names, such as `amt/batch16-rate1e-05`."""
        return f"{self.variant}/batch{self.batch_size}-rate{self.learning_rate!r}"


def sweep_points(config: Mapping) -> dict[str, Point]:
    """Every training of the search by name, from the config's section `sweep`.

    Raises:
        InputError: it names a variant that there is not.
    """
    sweep = config["sweep"]
    if unknown := [name for name in sweep["variants"] if name not in config["variants"]]:
        known = ", ".join(config["variants"])
        raise InputError(f"config, sweep.variants: there is no variant {unknown[0]}; there are: {known}")
    points = (
        Point(variant, batch, float(rate))
        for variant in sweep["variants"] or config["variants"]
        for batch in sweep["batch_sizes"]
        for rate in sweep["learning_rates"]
    )
    return {point.name: point for point in points}


def sweep_training(point: Point, training: Mapping, sweep: Mapping) -> dict:
    """The section `training` of a variant, changed for one training of the search.

    All trainings read the same number of sequences, whatever their batch, so that their losses can be compared; warm-up
    takes the same share of the steps as in the variant's own training.

    Args:
        point: the batch size and the learning rate.
        training: the variant's own section `training`.
        sweep: the config's section `sweep`.
    """
    steps = max(1, sweep["sequences"] // point.batch_size)
    return {
        **training,
        "batch_size": point.batch_size,
        "learning_rate": point.learning_rate,
        "max_steps": steps,
        "warmup_steps": round(steps * training["warmup_steps"] / training["max_steps"]),
        "eval_steps": math.ceil(steps / sweep["evaluations"]),
    }


def sweep_table(points: Sequence[Point], bests: Sequence[Mapping], logs: Sequence[pd.DataFrame]) -> pd.DataFrame:
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
    return pipe_table(heading, rows) + "\n"
