"""What the notes of a piece say, to compare it with a description: instruments, key, tempo, whether time advances."""

from collections.abc import Sequence

import numpy as np

from libretto.tokens.instruments import INSTRUMENT_NAMES, midicaps_name
from libretto.tokens.reference import valid_events
from libretto.tokens.vocab import DRUMS, PITCHES, TICKS_PER_SECOND

CROWD = 64  # notes that begin at once; more are taken for a model whose time has stopped
SHORT = 2 * TICKS_PER_SECOND  # ticks between the first and the last onset
# Beats a minute between two bins: those between Grave, Largo, Adagio, Andante, Moderato, Allegro, Vivace, Presto and
# Prestissimo.
TEMPO_BOUNDS = (40, 60, 70, 90, 110, 140, 160, 210)
TEMPO_WINDOW = 8 * TICKS_PER_SECOND
TEMPO_HOP = TICKS_PER_SECOND // 10
MAX_TEMPO = 320  # beats a minute
USUAL_TEMPO = 120
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


def estimate_tempo(tokens: Sequence[int]) -> float | None:
    """Beats a minute, from how many notes begin in each tick; None if all begin within two seconds.

    The autocorrelation of windows of 8 s, weighted towards 120 beats a minute (Ellis, 2007), as in
    `librosa.feature.tempo`; written out because librosa imports for seconds and has a window for every tick.
    """
    onsets = valid_events(tokens)[0][:, 0]
    if not len(onsets) or np.ptp(onsets) < SHORT:
        return None
    counts = np.pad(np.bincount(onsets - onsets.min()).astype(float), TEMPO_WINDOW // 2, "linear_ramp")
    windows = (
        np.lib.stride_tricks.sliding_window_view(counts, TEMPO_WINDOW)[:-1:TEMPO_HOP]
        * np.hanning(TEMPO_WINDOW + 1)[:-1]
    )
    similarity = np.fft.irfft(np.abs(np.fft.rfft(windows, 2 * TEMPO_WINDOW)) ** 2)[:, :TEMPO_WINDOW]
    mean = (similarity / np.maximum(similarity.max(1, keepdims=True), np.finfo(float).tiny)).mean(0)
    lags = np.arange(60 * TICKS_PER_SECOND // MAX_TEMPO + 1, TEMPO_WINDOW)
    tempos = 60 * TICKS_PER_SECOND / lags
    return float(tempos[np.argmax(np.log1p(1e6 * mean[lags]) - np.log2(tempos / USUAL_TEMPO) ** 2 / 2)])


def tempo_bin(tempo: float | None) -> int:
    """The number of a tempo's bin, which includes its lower bound; -1 of no tempo."""
    return -1 if tempo is None else int(np.searchsorted(TEMPO_BOUNDS, tempo, side="right"))
