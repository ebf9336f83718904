"""What its own description adds to how well a model predicts a song."""

from collections.abc import Iterable, Sequence

import numpy as np
from scipy import stats

from libretto.scores.inference import RESAMPLES
from libretto.scores.mean import summarize

NAME = "val_loss_music_own_minus_others"


def loss_own_minus_others(songs: Iterable[Sequence[float]], seed: int) -> dict[str, float | None]:
    """The loss of each song's music with its own description less that with another song's, on average.

    Args:
        songs: both losses of each validation song, in nats per token.
        seed: of the resampling.

    Returns:
        The mean difference, its SEM and its interval, and under `..._p` the one-sided p of a permutation test, in which
        the two descriptions of a song change places at random; None with too few songs.
    """
    losses = np.array([*songs], float).reshape(-1, 2)
    found = summarize(NAME, (losses[:, 0] - losses[:, 1]).tolist(), seed)
    if len(losses) < 2:
        return found | {f"{NAME}_p": None}
    test = stats.permutation_test(
        losses.T,
        lambda own, others, axis: (own - others).mean(axis),
        permutation_type="samples",
        alternative="less",
        n_resamples=RESAMPLES,
        batch=500,
        rng=np.random.default_rng(seed),
    )
    return found | {f"{NAME}_p": float(test.pvalue)}
