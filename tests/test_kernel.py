"""KAD against scikit-learn's kernel and sums, and on distributions that are equal and are not."""

import numpy as np
import pytest
from sklearn.metrics.pairwise import euclidean_distances, rbf_kernel

from libretto.scores import kernel
from libretto.scores.kernel import kad

DRAWS = np.random.default_rng(5)


def clips(n, shift=0.0):
    return {index: (DRAWS.normal(size=(3, 6)) + shift).astype(np.float32) for index in range(n)}


def test_kad_is_the_unbiased_mmd_of_scikit_learns_kernel():
    ours, reference = clips(20, 0.5), clips(30)
    x, y = (np.concatenate(list(part.values())).astype(float) for part in (reference, ours))
    pairs = euclidean_distances(x)[np.triu_indices(len(x), 1)]
    gamma = 1 / (2 * np.median(pairs) ** 2)
    k_xx, k_yy, k_xy = (rbf_kernel(a, b, gamma) for a, b in ((x, x), (y, y), (x, y)))
    m, n = len(x), len(y)
    mmd = (k_xx.sum() - m) / (m * (m - 1)) + (k_yy.sum() - n) / (n * (n - 1)) - 2 * k_xy.mean()
    assert kad(ours, reference, 0) == pytest.approx(100 * mmd, rel=1e-4)


def test_equal_distributions_have_none_on_average_whatever_their_number():
    for n in (5, 40):
        found = [kad(clips(n), clips(60), 0) for _ in range(40)]
        assert abs(np.mean(found)) < 3 * np.std(found, ddof=1) / np.sqrt(40)
        assert min(found) < 0 < max(found)
    assert kad(clips(40, 1.0), clips(60), 0) > 20 * max(found)


def test_of_too_many_a_sample_is_drawn(monkeypatch):
    ours, reference = clips(100, 0.7), clips(100)
    whole = kad(ours, reference, 0)
    monkeypatch.setattr(kernel, "MAX_ROWS", 150)
    assert kad(ours, reference, 0) == kad(ours, reference, 0) != kad(ours, reference, 1)
    assert kad(ours, reference, 0) == pytest.approx(whole, rel=0.4)


def test_too_few_or_equal_embeddings():
    one = {0: np.ones((1, 6))}
    assert kad({}, clips(3), 0) is None
    assert kad(one, clips(3), 0) is None
    assert kad(clips(3), {0: np.ones((5, 6))}, 0) is None
