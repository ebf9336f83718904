"""Resampling for the embeddings: resampy's results, as frechet-audio-distance has them, by one matrix product.

resampy computes the taps of its filter again for every sample. Where the two rates have a large common divisor, the
taps repeat: from 22,050 to 16,000 Hz, every 441 samples become 320, always by the same 320 filters. These are resampy's
impulse responses; applying them to a clip is one matrix product, which takes a small part of the time.
"""

import math
from functools import cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

ZERO_CROSSINGS = 50  # on each side of resampy's filter kaiser_best, its default
MAX_TAPS = 1_000_000  # of all filters; common rates up to 192,000 Hz need fewer


def resample(audio: np.ndarray, rate: int, new_rate: int) -> np.ndarray:
    """What `resampy.resample` makes of a clip, to 2e-6 for a clip in -1..1.

    Args:
        audio: float32 [n].
        rate: of `audio`, in Hz.
        new_rate: in Hz.

    Returns:
        float32 [floor(n * new_rate / rate)].

    Raises:
        ValueError: the clip is too short for one sample.
    """
    divisor = math.gcd(rate, new_rate)
    step, new_step = rate // divisor, new_rate // divisor
    reach = math.ceil(ZERO_CROSSINGS * max(1, step / new_step)) + 1
    # With longer steps, stretches overlap less, so fewer samples are copied.
    repeats = -(-4 * reach // step)
    step, new_step = repeats * step, repeats * new_step
    length = len(audio) * new_step // step
    if length == 0 or (step + 2 * reach) * new_step > MAX_TAPS:
        import resampy

        return resampy.resample(audio, rate, new_rate)
    filters = _filters(step, new_step, reach)
    steps = -(-length // new_step)
    padded = np.pad(audio, (reach, steps * step + reach - len(audio)))
    stretches = sliding_window_view(padded, len(filters))[::step]
    return (np.ascontiguousarray(stretches) @ filters).ravel()[:length]  # BLAS takes no overlapping rows


@cache
def _filters(step: int, new_step: int, reach: int) -> np.ndarray:
    """resampy's impulse responses: how `step` samples, and `reach` before and after them, become `new_step`.

    Returns:
        float32 [step + 2 reach, new_step].
    """
    import resampy  # compiles for a second, so only where it is needed

    impulses = np.eye(step + 2 * reach, 3 * step, step - reach)
    return resampy.resample(impulses, step, new_step, axis=1)[:, new_step : 2 * new_step].astype(np.float32)
