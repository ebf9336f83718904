"""KAD: the kernel audio distance of embeddings, which takes them for no Gaussian and is not biased by their number."""

from collections.abc import Mapping

import numpy as np
from scipy.spatial.distance import cdist, pdist

from libretto.seeds import stable_seed

SCALE = 100  # as in the paper's kadtk
MAX_ROWS = 5_000  # of either set; of more, so many are drawn at random


def kad(clips: Mapping[int, np.ndarray], reference: Mapping[int, np.ndarray], seed: int) -> float | None:
    """The unbiased squared maximum mean discrepancy, times 100 (Chung et al., 2025).

    The kernel is exp(-d² / (2 s²)), s being the median distance of two embeddings of the reference set.

    Args:
        clips: embeddings [·, d] by clip.
        reference: of the reference set.
        seed: of the draw where there are more than `MAX_ROWS` embeddings.

    Returns:
        Near 0, and then often below it, for equal distributions; None with fewer than two embeddings in a set.
    """
    ours, theirs = (_rows(part, seed, name) for part, name in ((clips, "clips"), (reference, "reference")))
    if min(len(ours), len(theirs)) < 2:
        return None
    distances = pdist(theirs)
    width = np.median(distances)
    if width == 0:
        return None
    within = [_kernel(pdist(ours), width).mean(), _kernel(distances, width).mean()]
    return float(SCALE * (sum(within) - 2 * _kernel(cdist(ours, theirs), width).mean()))


def _rows(clips: Mapping[int, np.ndarray], seed: int, name: str) -> np.ndarray:
    rows = np.concatenate(list(clips.values())) if clips else np.empty((0, 1))
    if len(rows) > MAX_ROWS:
        draws = np.random.default_rng(stable_seed(seed, "kad", name))
        rows = rows[np.sort(draws.choice(len(rows), MAX_ROWS, replace=False))]
    return rows.astype(np.float64)


def _kernel(distances: np.ndarray, width: float) -> np.ndarray:
    return np.exp(-((distances / width) ** 2) / 2)
