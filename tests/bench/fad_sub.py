"""How good the printed error of FAD-sub is: a simulation, against the spread over fresh samples.

    python -m tests.bench.fad_sub [repetitions]

Clips are five embeddings around one of their own, in 16 dimensions. As in the paper, a system has 1,000 clips, the
reference set 3,000, and FAD-sub takes 5 draws of 500.
"""

import sys

import numpy as np
from tqdm import tqdm

from libretto.scores.frechet import fad, fad_sub
from libretto.scores.mean import mean_and_sem

DIMENSIONS = 16
FRAMES = 5  # of a clip
CLIPS, REFERENCE_CLIPS = 1_000, 3_000
SHIFT = 0.12  # of a system's mean from the reference's, in every dimension


def main(repetitions: int = 60) -> None:
    """Simulate and print."""
    draws = np.random.default_rng(0)
    mixing = draws.normal(size=(DIMENSIONS, DIMENSIONS)) / 4

    def clips(n, shift):
        centres = draws.normal(size=(n, DIMENSIONS)) @ mixing + shift
        return {i: centre + 0.5 * draws.normal(size=(FRAMES, DIMENSIONS)) for i, centre in enumerate(centres)}

    reference = clips(REFERENCE_CLIPS, 0)
    whole, means, errors = [], [], []
    for seed in tqdm(range(repetitions)):
        fresh = clips(CLIPS, SHIFT)
        whole.append(fad(fresh, reference))
        mean, error = mean_and_sem(fad_sub(fresh, reference, draws=5, size=500, seed=seed))
        means.append(mean)
        errors.append(error)
    spread = np.std(means, ddof=1)
    print(f"FAD-sub over fresh samples: mean {np.mean(means):.4f}, standard deviation {spread:.4f}")
    print(f"its printed error: {np.mean(errors):.4f}, too small by a factor of {spread / np.mean(errors):.2f}")
    print(f"FAD over fresh samples: mean {np.mean(whole):.4f}, standard deviation {np.std(whole, ddof=1):.4f}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
