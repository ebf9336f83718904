"""Which differences are real: tests of pairs of systems, and what a description adds to a score."""

from collections.abc import Sequence

import numpy as np

RESAMPLES = 10_000
BATCH = 1_000  # resamples at once


def paired_p(first: Sequence[float], second: Sequence[float], seed: int, least: float = 1) -> float | None:
    """Two-sided p of the hypothesis that two systems score alike, by a paired bootstrap over the prompts they share.

    The mean difference is resampled under the hypothesis, with the differences shifted to a mean of zero and divided by
    their standard error, as Efron and Tibshirani (1993, section 16.4) recommend.

    Args:
        first: scores of one system, one per prompt.
        second: of the other, for the same prompts.
        seed: of the resampling.
        least: a p that must be possible; where `RESAMPLES` are too few for it, there are more.

    Returns:
        None with fewer than two prompts; 1 if no score differs.
    """
    differences = np.asarray(first, float) - np.asarray(second, float)
    n = len(differences)
    if n < 2:
        return None
    n_batches = -(-max(RESAMPLES, round(1 / least)) // BATCH)
    n_resamples = n_batches * BATCH
    if np.ptp(differences) == 0:
        return 1.0 if differences[0] == 0 else 1 / (n_resamples + 1)
    observed = abs(differences.mean()) / differences.std(ddof=1)
    centred = differences - differences.mean()
    draws = np.random.default_rng(seed)
    extreme = 0
    for _ in range(n_batches):
        resampled = centred[draws.integers(n, size=(BATCH, n))]
        with np.errstate(invalid="ignore", divide="ignore"):
            statistics = abs(resampled.mean(1)) / resampled.std(1, ddof=1)
        extreme += int((statistics >= observed).sum())
    return (extreme + 1) / (n_resamples + 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for the number of tests, so that the family-wise error is kept (Holm, 1979)."""
    order = np.argsort(p_values)
    steps = np.asarray(p_values)[order] * np.arange(len(p_values), 0, -1)
    corrected = np.empty(len(p_values))
    corrected[order] = np.minimum(1, np.maximum.accumulate(steps))
    return corrected.tolist()


def own_minus_others(scores: np.ndarray, seed: int) -> tuple[float | None, float | None]:
    """How much better music scores with its own description than with those of other songs.

    Args:
        scores: [n, n], row i being the music of prompt i, column j the description of prompt j.
        seed: of the permutations.

    Returns:
        The mean of the diagonal less the mean of the rest, and the one-sided p of a permutation test, in which
        descriptions are dealt out at random; None with fewer than two prompts.
    """
    n = len(scores)
    if n < 2:
        return None, None
    own = np.trace(scores) / n
    others = (scores.sum() - np.trace(scores)) / (n * (n - 1))
    draws, rows = np.random.default_rng(seed), np.arange(n)
    dealt = (scores[rows, draws.permutation(n)].mean() for _ in range(RESAMPLES))
    extreme = sum(mean >= own - 1e-12 for mean in dealt)
    return float(own - others), (extreme + 1) / (RESAMPLES + 1)
