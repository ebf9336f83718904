"""The small search over batch sizes and learning rates (paper, section 5.1)."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from libretto.errors import InputError


@dataclass(frozen=True)
class SweepPoint:
    """One training of the search."""

    variant: str
    batch_size: int
    learning_rate: float

    @property
    def name(self) -> str:
        """As in file names, such as `amt/batch16-rate1e-05`."""
        return f"{self.variant}/batch{self.batch_size}-rate{self.learning_rate!r}"


def sweep_points(config: dict) -> dict[str, SweepPoint]:
    """Every training of the search by name, from the config's section `sweep`.

    Raises:
        InputError: it names a variant that does not exist.
    """
    sweep = config["sweep"]
    if unknown := [name for name in sweep["variants"] if name not in config["variants"]]:
        known = ", ".join(config["variants"])
        raise InputError(f"config, sweep.variants: there is no variant {unknown[0]}; there are: {known}")
    points = (
        SweepPoint(variant, batch, float(rate))
        for variant in sweep["variants"] or config["variants"]
        for batch in sweep["batch_sizes"]
        for rate in sweep["learning_rates"]
    )
    return {point.name: point for point in points}


def sweep_training(point: SweepPoint, training: Mapping, sweep: Mapping) -> dict:
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
