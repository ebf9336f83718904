"""A sample's tempo, found from its onsets alone, against that of its description."""

from collections.abc import Mapping, Sequence

import numpy as np

from libretto.scores.notes import SHORT
from libretto.tokens.reference import valid_events
from libretto.tokens.vocab import TICKS_PER_SECOND

# Beats a minute between two bins: those between Grave, Largo, Adagio, Andante, Moderato, Allegro, Vivace, Presto and
# Prestissimo.
BINS = (40, 60, 70, 90, 110, 140, 160, 210)


def estimate_tempo(tokens: Sequence[int]) -> float | None:
    """Beats a minute: librosa's estimate from how many notes begin in each tick.

    By autocorrelation, weighted towards 120 beats a minute (Ellis, 2007). None if all notes begin within two seconds.
    """
    import librosa  # imports for seconds, so only where it is needed

    onsets = valid_events(tokens)[0][:, 0]
    if not len(onsets) or np.ptp(onsets) < SHORT:
        return None
    counts = np.bincount(onsets - onsets.min()).astype(float)
    return float(librosa.feature.tempo(onset_envelope=counts, sr=TICKS_PER_SECOND, hop_length=1)[0])


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
