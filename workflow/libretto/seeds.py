"""Seeds that depend on names and positions alone, so that every random draw can be repeated on its own."""

import hashlib

import numpy as np

from libretto.errors import InputError


def stable_seed(*parts: str | int) -> int:
    """A seed in 0..2**63-1 from `parts`, the same in every process and on every machine."""
    digest = hashlib.sha256("\0".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def derangement(n: int, seed: int) -> list[int]:
    """A random permutation of 0..n-1 that leaves nothing in place: a single cycle (Sattolo's algorithm).

    Raises:
        InputError: n < 2 has no derangement.
    """
    if n < 2:
        raise InputError("random descriptions need two songs or more: raise sampling.n and data.cuts")
    order = list(range(n))
    draws = np.random.default_rng(seed)
    for i in range(n - 1, 0, -1):
        j = int(draws.integers(i))
        order[i], order[j] = order[j], order[i]
    return order
