"""The summary of every score: mean, standard error, and an interval."""

from collections.abc import Sequence

import numpy as np
from scipy import stats

from libretto.scores.inference import RESAMPLES

CONFIDENCE = 0.95


def mean_and_sem(values: Sequence[float]) -> tuple[float | None, float | None]:
    """Mean and standard error of the mean (ddof 1); None if there are too few values for it."""
    mean = float(np.mean(values)) if len(values) else None
    sem = float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None
    return mean, sem


def bootstrap_interval(values: Sequence[float], seed: int) -> tuple[float | None, float | None]:
    """A 95 % interval of the mean over prompts, by the BCa bootstrap (Efron, 1987).

    Args:
        values: one per prompt.
        seed: of the resampling.

    Returns:
        Its ends; None with fewer than two values. Both are the mean if all values are equal but for rounding, for which
        BCa is not defined.
    """
    if len(values) < 2:
        return None, None
    if np.allclose(values, values[0], rtol=1e-12, atol=1e-100):
        return float(np.mean(values)), float(np.mean(values))
    draws = np.random.default_rng(seed)
    interval = stats.bootstrap(
        (values,), np.mean, confidence_level=CONFIDENCE, n_resamples=RESAMPLES, rng=draws, batch=1_000
    ).confidence_interval
    return float(interval.low), float(interval.high)


def summarize(name: str, values: Sequence[float], seed: int) -> dict[str, float | None]:
    """A score's mean, SEM and interval as `name`, `name_sem`, `name_low` and `name_high`."""
    mean, sem = mean_and_sem(values)
    low, high = bootstrap_interval(values, seed)
    return {name: mean, f"{name}_sem": sem, f"{name}_low": low, f"{name}_high": high}
