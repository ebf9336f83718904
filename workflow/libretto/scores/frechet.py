"""FAD, FAD-sub and FMD: Fréchet distances of embeddings (paper, section 5.3)."""

from collections.abc import Mapping

import numpy as np

from libretto.seeds import stable_seed

INFINITY_POINTS = 15  # sizes at which FAD is computed for its extrapolation
EIGENVALUE_TOLERANCE = 1e-6  # tolerance for negative eigenvalues from rounding, relative to the largest


def frechet_distance(ours: np.ndarray, reference: np.ndarray) -> float:
    """The Fréchet distance of two sets of embeddings, each taken as a Gaussian (paper, section 5.3):

        |μ_b − μ_e|² + tr(Σ_b + Σ_e − 2 √(Σ_b Σ_e))

    The trace of √(Σ_b Σ_e) is taken as that of √(√Σ_b Σ_e √Σ_b), which is the same and, being symmetric, stays real.

    Args:
        ours: [n, d], n > 1.
        reference: [m, d], m > 1.

    Raises:
        ValueError: too few rows, or values that are not finite.
    """
    return _distance(_normal(ours), _reference(reference))


def _normal(rows):
    """The normal distribution that is fitted to embeddings: mean and covariance."""
    if len(rows) < 2:
        raise ValueError(f"a Fréchet distance needs two embeddings or more: there are {len(rows)}")
    rows = np.asarray(rows, np.float64)
    if not np.isfinite(rows).all():
        raise ValueError("a Fréchet distance needs embeddings that are finite")
    return rows.mean(axis=0), np.atleast_2d(np.cov(rows, rowvar=False))


def _reference(rows):
    """The normal distribution that is fitted to embeddings, and the root of its covariance."""
    mean, sigma = _normal(rows)
    values, vectors = np.linalg.eigh(sigma)
    return mean, sigma, vectors * np.sqrt(_not_negative(values)) @ vectors.T


def _distance(ours, reference):
    (mean, sigma), (mean_reference, sigma_reference, root) = ours, reference
    difference = mean - mean_reference
    cross = np.sqrt(_not_negative(np.linalg.eigvalsh(root @ sigma @ root))).sum()
    return float(difference @ difference + np.trace(sigma) + np.trace(sigma_reference) - 2 * cross)


def _not_negative(eigenvalues: np.ndarray) -> np.ndarray:
    if eigenvalues.min() < -EIGENVALUE_TOLERANCE * max(eigenvalues.max(), 1e-12):
        raise ValueError(f"the covariance matrix is not positive semidefinite (eigenvalue {eigenvalues.min()})")
    return np.clip(eigenvalues, 0, None)


def fad(clips: Mapping[int, np.ndarray], reference: Mapping[int, np.ndarray]) -> float:
    """Fréchet audio distance: of the embeddings [·, d] of all clips from those of the reference set."""
    return frechet_distance(np.concatenate(list(clips.values())), np.concatenate(list(reference.values())))


def fads_per_sample(clips: Mapping[int, np.ndarray], reference: Mapping[int, np.ndarray]) -> dict[int, float]:
    """The FAD of each clip alone, by its index: the "per-song FAD" of Gui et al. (2024).

    The embeddings of one clip are few, so it is far larger than a system's FAD, and depends on a clip's length. Clips
    of one embedding have none.
    """
    theirs = _reference(np.concatenate(list(reference.values())))
    return {index: _distance(_normal(own), theirs) for index, own in clips.items() if len(own) > 1}


def fads_without_one(clips: Mapping[int, np.ndarray], reference: Mapping[int, np.ndarray]) -> dict[int, float]:
    """FAD of all clips but one, by that one's index: which clips decide a system's FAD.

    Long clips weigh more, since they have more embeddings: one that goes wrong for a minute can be most of a FAD.

    Args:
        clips: embeddings [n, d] by clip, n > 0, finite.
        reference: of the reference set.

    Returns:
        FAD by clip; not of one without which fewer than two embeddings would remain.

    Raises:
        ValueError: embeddings of the reference set are too few, or not finite.
    """
    theirs = _reference(np.concatenate(list(reference.values())))
    found = {}

    def leave_out_each(indices, others):
        """Leave out each of `indices` in turn; `others` are the moments of all other clips.

        Nothing is subtracted, since that would cost precision.
        """
        if len(indices) > 1:
            half = len(indices) // 2
            for part, rest in ((indices[:half], indices[half:]), (indices[half:], indices[:half])):
                leave_out_each(part, _pooled(others, _moments(np.concatenate([clips[index] for index in rest]))))
        elif others[0] > 1:
            n, mean, scatter = others
            found[indices[0]] = _distance((mean, scatter / (n - 1)), theirs)

    if clips:
        leave_out_each(list(clips), (0, 0.0, 0.0))
    return found


def _moments(rows):
    """The number of rows, their mean, and the sum of the products of their deviations from it."""
    rows = np.asarray(rows, np.float64)
    mean = rows.mean(axis=0)
    return len(rows), mean, (rows - mean).T @ (rows - mean)


def _pooled(some, more):
    """The moments of two sets together (Chan, Golub and LeVeque, 1983)."""
    (n, mean, scatter), (n_more, mean_more, scatter_more) = some, more
    difference = mean_more - mean
    share = n_more / (n + n_more)
    return n + n_more, mean + share * difference, scatter + scatter_more + n * share * np.outer(difference, difference)


def fad_infinity(clips: Mapping[int, np.ndarray], reference: Mapping[int, np.ndarray], seed: int) -> float | None:
    """FAD with infinitely many embeddings, which a finite number overestimates (Gui et al., 2024).

    FAD of random subsets of the embeddings is fitted by a line in 1/n, from a fifth of them to all. Subsets, as in FID∞
    (Chong and Forsyth, 2020): drawn with replacement, as fadtk does, the line would end at the FAD of all embeddings.

    Args:
        clips: embeddings [·, d] by clip.
        reference: of the reference set.
        seed: of the draws.

    Returns:
        Where the line meets 1/n = 0; None with fewer than ten embeddings.
    """
    rows = np.concatenate(list(clips.values())) if clips else np.empty((0, 1))
    if len(rows) < 10:
        return None
    others = np.concatenate(list(reference.values()))
    sizes = np.unique(np.linspace(max(2, len(rows) // 5), len(rows), INFINITY_POINTS).astype(int))
    distances = []
    for size in sizes.tolist():
        draws = np.random.default_rng(stable_seed(seed, "fad-infinity", size))
        distances.append(frechet_distance(rows[draws.choice(len(rows), size, replace=False)], others))
    return float(np.polyfit(1 / sizes, distances, 1)[1])


def fad_floor(reference: Mapping[int, np.ndarray], n: int, draws: int, seed: int) -> float | None:
    """What FAD is when nothing differs: the mean FAD of clips of the reference set from its other clips.

    Args:
        reference: embeddings [·, d] by clip.
        n: of clips in a system; FAD falls with it, so as many are drawn, or half of the set if it has too few.
        draws: how often.
        seed: of the draws.

    Returns:
        None if the set has fewer than four clips.
    """
    n = min(n, len(reference) // 2)
    if n < 2:
        return None
    distances = []
    for draw in range(draws):
        order = np.random.default_rng(stable_seed(seed, "fad-floor", draw)).permutation(sorted(reference)).tolist()
        own, others = ({index: reference[index] for index in part} for part in (order[:n], order[n:]))
        distances.append(fad(own, others))
    return float(np.mean(distances))


def fad_sub(
    clips: Mapping[int, np.ndarray], reference: Mapping[int, np.ndarray], draws: int, size: int, seed: int
) -> list[float]:
    """FAD of random subsets: `draws` times `size` clips, drawn without replacement (paper, Table 3).

    Systems with the same clips get the same draws. Empty if there are fewer than `size` clips.
    """
    if len(clips) < size:
        return []
    distances = []
    for draw in range(draws):
        order = np.random.default_rng(stable_seed(seed, "fad-sub", draw)).permutation(sorted(clips))
        distances.append(fad({index: clips[index] for index in sorted(order[:size].tolist())}, reference))
    return distances


def fmd_scores(
    files: Mapping[int, np.ndarray], reference: Mapping[int, np.ndarray], draws: int, seed: int
) -> dict[str, float | None]:
    """`fmd`, the Fréchet music distance (Retkowski et al., 2024), and its floor, as `fad_floor`.

    Args:
        files: CLaMP 2's embedding [1, d] of each MIDI file.
        reference: of the reference set.
        draws: of the floor.
        seed: of the draws.

    Returns:
        The distance is None with fewer than two files.
    """
    distance = fad(files, reference) if len(files) > 1 else None
    return {"fmd": distance, "fmd_floor": fad_floor(reference, len(files), draws, seed)}
