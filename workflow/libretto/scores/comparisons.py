"""Every pair of systems compared in every score, over the prompts that both have."""

from collections.abc import Iterable, Mapping
from itertools import combinations

import pandas as pd

from libretto.scores.inference import holm, paired_p
from libretto.seeds import stable_seed

COLUMNS = ("score", "first", "second", "n", "difference", "p", "p_holm")
ALPHA = 0.05


def compare(samples: pd.DataFrame, systems: Iterable[str], seed: int) -> pd.DataFrame:
    """Paired tests of all pairs of systems.

    Args:
        samples: the rows of scores.parquet.
        systems: to compare, by name.
        seed: of the resampling.

    Returns:
        A row per score and pair, in `COLUMNS`: the names, how many prompts both have a score for, the mean difference
        of the first less the second, its p, and its p corrected for all pairs in this score (Holm). Pairs with fewer
        than two prompts in common are left out.
    """
    systems = [*systems]
    rows = []
    for score, own in samples.groupby("score", sort=False):
        values = own.pivot(index="prompt_lmd_id", columns="system", values="value")
        pairs = []
        compared = [*combinations([name for name in systems if name in values], 2)]
        for first, second in compared:
            both = values[[first, second]].dropna()
            # Half of what Holm's correction needs of the smallest p, however many pairs there are.
            least = ALPHA / 2 / len(compared)
            p = paired_p(both[first], both[second], stable_seed(seed, str(score), first, second), least)
            if p is not None:
                difference = float((both[first] - both[second]).mean())
                pairs.append([score, first, second, len(both), difference, p])
        corrected = holm([pair[-1] for pair in pairs])
        rows += [(*pair, p) for pair, p in zip(pairs, corrected, strict=True)]
    return pd.DataFrame(rows, columns=COLUMNS)


def like_the_best(
    comparisons: pd.DataFrame, means: Mapping[str, float], score: str, higher_is_better: bool
) -> set[str]:
    """The best system in a score, and those that cannot be told from it at the 5 % level.

    Args:
        comparisons: of `compare`.
        means: the score of each system that has it.
        score: its name.
        higher_is_better: whether a higher score is better.
    """
    if not means:
        return set()
    best = (max if higher_is_better else min)(means, key=means.__getitem__)
    own = comparisons[comparisons["score"] == score]
    pairs = own[(own["first"] == best) | (own["second"] == best)]
    alike = pairs[pairs["p_holm"] >= ALPHA]
    return ({best} | set(alike["first"]) | set(alike["second"])) & means.keys()
