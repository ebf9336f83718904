"""A sample's tempo, found from its onsets alone, against that of its description."""

from collections.abc import Mapping, Sequence

import numpy as np

from libretto.scores.notes import SHORT
from libretto.tokens.reference import valid_events
from libretto.tokens.vocab import TICKS_PER_SECOND

# Beats a minute between two bins: those between Grave, Largo, Adagio, Andante, Moderato, Allegro, Vivace, Presto and
# Prestissimo.
BINS = (40, 60, 70, 90, 110, 140, 160, 210)


WINDOW = 8 * TICKS_PER_SECOND
HOP = TICKS_PER_SECOND // 10
FASTEST = 320  # beats a minute
USUAL = 120


def estimate_tempo(tokens: Sequence[int]) -> float | None:
    """Beats a minute, from how many notes begin in each tick; None if all begin within two seconds.

    The autocorrelation of windows of 8 s, weighted towards 120 beats a minute (Ellis, 2007), as in
    `librosa.feature.tempo`; written out because librosa imports for seconds and has a window for every tick.
    """
    onsets = valid_events(tokens)[0][:, 0]
    if not len(onsets) or np.ptp(onsets) < SHORT:
        return None
    counts = np.pad(np.bincount(onsets - onsets.min()).astype(float), WINDOW // 2, "linear_ramp")
    windows = np.lib.stride_tricks.sliding_window_view(counts, WINDOW)[:-1:HOP] * np.hanning(WINDOW + 1)[:-1]
    similarity = np.fft.irfft(np.abs(np.fft.rfft(windows, 2 * WINDOW)) ** 2)[:, :WINDOW]
    mean = (similarity / np.maximum(similarity.max(1, keepdims=True), np.finfo(float).tiny)).mean(0)
    lags = np.arange(60 * TICKS_PER_SECOND // FASTEST + 1, WINDOW)
    tempos = 60 * TICKS_PER_SECOND / lags
    return float(tempos[np.argmax(np.log1p(1e6 * mean[lags]) - np.log2(tempos / USUAL) ** 2 / 2)])


def tempo_bin(tempo: float | None) -> int:
    """The number of a tempo's bin, which includes its lower bound; -1 of no tempo."""
    return -1 if tempo is None else int(np.searchsorted(BINS, tempo, side="right"))


def tempo_matches(samples: Sequence[Mapping], tempos: Mapping[str, float | None]) -> tuple[list[int], np.ndarray]:
    """Whether each sample's tempo is in the bin of each sample's description (Text2midi's TB).

    Args:
        samples: rows of samples/{system}/tokens.parquet; those whose description has no tempo are left out.
        tempos: MidiCaps' `tempo` by lmd_id.

    Returns:
        The indices of the samples, and float [n, n], row i being the music of sample i, column j the description of
        sample j.
    """
    described = [row for row in samples if tempos[row["prompt_lmd_id"]]]
    wanted = np.array([tempo_bin(tempos[row["prompt_lmd_id"]]) for row in described], int)
    found = np.array([tempo_bin(estimate_tempo(row["tokens"])) for row in described], int)
    return [row["index"] for row in described], (found[:, None] == wanted).astype(float)
