"""Mean and standard error, the summary of every score."""

from collections.abc import Sequence

import numpy as np


def mean_and_sem(values: Sequence[float]) -> tuple[float | None, float | None]:
    """Mean and standard error of the mean (ddof 1); None if there are too few values for it."""
    mean = float(np.mean(values)) if len(values) else None
    sem = float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None
    return mean, sem
