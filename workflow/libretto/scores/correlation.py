"""How two scores of the same samples go together: the paper suspects that CLAP and FAD follow the instruments (6.1)."""

from collections.abc import Iterable
from itertools import product

import numpy as np
import pandas as pd

from libretto.seeds import stable_seed

RESAMPLES = 2_000
MIN_DIFFERENT = 10  # samples that differ from a score's commonest value; with fewer, one of them decides
TITLES = {"clap": "CLAP", "fad_per_sample": "FAD per sample"}
AGAINST = {"instrument_f1": "instrument F1", "degenerate": "degeneracy"}
# Not FAD per sample and degeneracy: a short sample has few embeddings, which alone raises its FAD.
PAIRS = (("clap", "instrument_f1"), ("clap", "degenerate"), ("fad_per_sample", "instrument_f1"))
POOLED = "(all)"  # in the column `system`: no system can have this name
COLUMNS = ("score", "against", "system", "n", "rho", "low", "high")


def correlations(samples: pd.DataFrame, systems: Iterable[str], seed: int) -> pd.DataFrame:
    """CLAP and FAD per sample against instrument F1, and CLAP against degeneracy, in each system and over all of them.

    A sample is degenerate if it is crowded or short (`libretto.tokens.analysis.time_scores`). Over all systems, each
    sample has its rank among those of its own: a system that is better in both scores ties nothing.

    Args:
        samples: the rows of scores.parquet.
        systems: by name.
        seed: of the resampling.

    Returns:
        A row per two scores that are measured and system, in `COLUMNS`; `rho` is Spearman's, with a 95 % interval. They
        are missing where too few samples differ.
    """
    systems = [*systems]
    own = samples[samples["system"].isin(systems)]
    table = own.pivot_table(index=["system", "prompt_lmd_id", "index"], columns="score", values="value").reset_index()
    table["degenerate"] = table[["crowded_share", "short_share"]].max(axis=1)
    rows = []
    measured = [pair for pair in PAIRS if {*pair} <= {*table}]
    for (score, against), system in product(measured, (*systems, POOLED)):
        part = (table if system == POOLED else table[table["system"] == system]).dropna(subset=[score, against])
        if system == POOLED:
            ranks = part.groupby("system")[[score, against]].rank(pct=True)
            part[[score, against]] = (ranks - ranks.groupby(part["system"]).transform("mean")).round(9)
        first, second, prompts = (part[name].to_numpy() for name in (score, against, "prompt_lmd_id"))
        found = spearman(first, second, prompts, stable_seed(seed, score, against, system))
        rows.append((score, against, system, len(part), *found))
    return pd.DataFrame(rows, columns=COLUMNS)


def spearman(
    first: np.ndarray, second: np.ndarray, prompts: np.ndarray, seed: int
) -> tuple[float, float, float] | tuple[None, None, None]:
    """Spearman's rank correlation with a 95 % interval: percentiles of a bootstrap of the prompts.

    Samples of one prompt are drawn together, since they are alike. They keep their ranks.

    Args:
        first, second: float [n].
        prompts: [n], the prompt of each sample.
        seed: of the resampling.

    Returns:
        None where fewer than `MIN_DIFFERENT` samples differ from the commonest value of a score.
    """
    groups, codes = np.unique(prompts, return_inverse=True)
    commonest = [np.unique(values, return_counts=True)[1].max(initial=0) for values in (first, second)]
    if len(first) - max(commonest) < MIN_DIFFERENT:
        return None, None, None
    x, y = ((ranks := pd.Series(values).rank().to_numpy()) - ranks.mean() for values in (first, second))
    terms = np.stack([np.ones(len(x)), x, y, x * x, y * y, x * y], 1)
    sums = np.stack([np.bincount(codes, column) for column in terms.T], 1)
    counts = np.random.default_rng(seed).multinomial(len(groups), np.full(len(groups), 1 / len(groups)), RESAMPLES)
    with np.errstate(invalid="ignore", divide="ignore"):  # a draw may have one value only
        drawn = _pearson(counts @ sums)
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return float(_pearson(sums.sum(0))), float(low), float(high)


def _pearson(sums: np.ndarray) -> np.ndarray:
    """The correlation, from sums [..., 6] of 1, x, y, x², y² and xy."""
    n, x, y, xx, yy, xy = np.moveaxis(sums, -1, 0)
    return (xy - x * y / n) / np.sqrt((xx - x * x / n) * (yy - y * y / n))
