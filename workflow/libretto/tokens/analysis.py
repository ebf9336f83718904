"""What the notes of a piece say, to compare it with a description: instruments, key, tempo, whether time advances."""

from collections.abc import Sequence

import numpy as np

from libretto.tokens.instruments import INSTRUMENT_NAMES, midicaps_name
from libretto.tokens.reference import valid_events
from libretto.tokens.vocab import DRUMS, PITCHES, TICKS_PER_SECOND

CROWD = 64  # notes that begin at once; more are taken for a model whose time has stopped
SHORT = 2 * TICKS_PER_SECOND  # ticks between the first and the last onset
TONICS = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
FLATS = {
    "Db": "C#",
    "Eb": "D#",
    "E-": "D#",
    "D-": "C#",
    "Gb": "F#",
    "G-": "F#",
    "Ab": "G#",
    "A-": "G#",
    "Bb": "A#",
    "B-": "A#",
    "Cb": "B",
    "C-": "B",
}
SCALES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10)}
# How well each pitch class fits a key (Krumhansl and Kessler, 1982).
PROFILES = {
    "major": (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88),
    "minor": (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17),
}
KEYS = [(tonic, mode) for mode in SCALES for tonic in range(12)]
FIT = np.array([np.roll(PROFILES[mode], tonic) for tonic, mode in KEYS])


def instruments_of(tokens: Sequence[int]) -> set[str]:
    """The instruments that sound in a sample, by MidiCaps' names."""
    events, _ = valid_events(tokens)
    return {INSTRUMENT_NAMES[number] for number in np.unique(events[:, 2] // PITCHES)}


def described_instruments(summary: Sequence[str]) -> tuple[set[str], list[str]]:
    """A description's instruments by MidiCaps' names, and the names that we do not know."""
    names = {midicaps_name(name) for name in summary}
    return names & set(INSTRUMENT_NAMES), sorted(names - set(INSTRUMENT_NAMES))


def precision_recall_f1(sounding: set[str], described: set[str]) -> tuple[float, float, float]:
    """How much of what sounds was asked for, how much of what was asked for sounds, and their harmonic mean.

    Precision is 0 if nothing sounds. `described` must not be empty. MidiCaps names at most five instruments of
    a song, so music with more cannot reach a precision of 1.
    """
    hits = len(sounding & described)
    precision = hits / len(sounding) if sounding else 0.0
    return precision, hits / len(described), 2 * hits / (len(sounding) + len(described))


def time_scores(events: np.ndarray) -> tuple[float, float, int]:
    """Whether time advances in a sample: the paper saw samples in which it does not (section 5.1).

    Args:
        events: int [n, 3] of onset in ticks, duration in ticks, and note.

    Returns:
        1.0 if more than 64 notes begin at one time, else 0.0; 1.0 if all begin within two seconds, else 0.0 (an empty
        sample does); and how many different onsets there are.
    """
    onsets, counts = np.unique(events[:, 0], return_counts=True)
    short = len(onsets) == 0 or onsets[-1] - onsets[0] < SHORT
    return float(counts.max(initial=0) > CROWD), float(short), len(onsets)


def estimate_key(tokens: Sequence[int]) -> tuple[int, str] | None:
    """Tonic (0 is C) and mode of a sample: those whose profile correlates best with how long each pitch class sounds.

    Krumhansl and Schmuckler's method, as in music21, with which MidiCaps found its keys. None without pitches.
    """
    events, _ = valid_events(tokens)
    melodic = events[events[:, 2] // PITCHES != DRUMS]
    lengths = np.bincount(melodic[:, 2] % PITCHES % 12, melodic[:, 1], minlength=12)
    if np.ptp(lengths) == 0:
        return None
    return KEYS[int(np.corrcoef(lengths, FIT)[0, 1:].argmax())]


def parse_key(name: str | None) -> tuple[int, str] | None:
    """Tonic and mode of MidiCaps' `key`, such as "F# minor"; None if there is none that we know."""
    tonic, _, mode = (name or "").partition(" ")
    tonic = FLATS.get(tonic, tonic)
    return (TONICS.index(tonic), mode) if tonic in TONICS and mode in SCALES else None


def same_key(found: tuple[int, str] | None, wanted: tuple[int, str]) -> bool:
    """Whether a key is the wanted one or its relative, which has the same notes (Text2midi's CKD)."""
    return found is not None and _as_major(found) == _as_major(wanted)


def _as_major(key):
    tonic, mode = key
    return (tonic + 3) % 12 if mode == "minor" else tonic


def tempo_fit(tokens: Sequence[int], tempo: float) -> float:
    """How well the onsets lie on the sixteenths of a tempo, from 0 (by chance) to 1; as well on those of its double.

    The mean of cos(2 pi f d) over the distances d between onsets up to two beats apart, f being the sixteenths per
    tick: the power of a Fourier tempogram (Grosche and Müller, 2011). Negative means, and no such onsets, are 0.

    Args:
        tokens: the piece.
        tempo: beats per minute, above 0.
    """
    onsets = np.unique(valid_events(tokens)[0][:, 0])
    beat = 60 * TICKS_PER_SECOND / tempo
    distances = onsets[None, :] - onsets[:, None]
    distances = distances[(distances > 0) & (distances <= 2 * beat)]
    return max(0.0, float(np.cos(8 * np.pi * distances / beat).mean())) if len(distances) else 0.0
