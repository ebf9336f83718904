"""Keys, chords and voicings for the composer."""

import random
import re
from dataclasses import dataclass
from functools import cache

MODES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10)}
KEY_NAMES = {
    "major": ("C", "Db", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B"),
    "minor": ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "G#", "A", "Bb", "B"),
}
_FLATS = ("C", "Db", "D", "Eb", "E", "F", "Gb", "G", "Ab", "A", "Bb", "B")
_SHARPS = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
_NUMERALS = ("i", "ii", "iii", "iv", "v", "vi", "vii")
_QUALITIES = {  # by case of the numeral and suffix: intervals over the root, suffix of the chord's name
    (True, ""): ((0, 4, 7), ""),
    (False, ""): ((0, 3, 7), "m"),
    (True, "7"): ((0, 4, 7, 10), "7"),
    (False, "7"): ((0, 3, 7, 10), "m7"),
    (True, "M7"): ((0, 4, 7, 11), "maj7"),
    (False, "h7"): ((0, 3, 6, 10), "m7b5"),
}


@dataclass(frozen=True)
class Chord:
    """A chord in a key.

    Attributes:
        name: such as `Bbmaj7`, as MidiCaps' chord detector writes it.
        root: pitch class, 0 for C.
        tones: pitch classes from the root up.
        scale: the seven pitch classes that fit it, from the tonic of the key up.
    """

    name: str
    root: int
    tones: tuple[int, ...]
    scale: tuple[int, ...]


def chord(numeral: str, tonic: int, mode: str) -> Chord:
    """The chord that a Roman numeral names; in minor, numerals count from the natural minor scale."""
    match = re.fullmatch(r"(b?)([IViv]+)(7|M7|h7|o|)", numeral)
    if not match:
        raise ValueError(f"not a Roman numeral: {numeral}")
    flat, degree, suffix = match.groups()
    step = _NUMERALS.index(degree.lower())
    root = (tonic + MODES[mode][step] - len(flat)) % 12
    if mode == "minor" and flat:  # bII in minor is the Neapolitan; other degrees are flat by themselves
        root = (tonic + MODES["major"][step] - 1) % 12
    intervals, ending = _QUALITIES[degree.isupper(), suffix]
    tones = tuple((root + interval) % 12 for interval in intervals)
    scale = [(tonic + s) % 12 for s in MODES[mode]]
    for third, tone in enumerate(tones):  # a chord tone off the key takes the place of its own degree
        scale[(step + 2 * third) % 7] = tone
    key = KEY_NAMES[mode][tonic]
    flats = "b" in key or key in {"major": ("C", "F"), "minor": ("C", "D", "F", "G")}[mode]
    return Chord((_FLATS if flats else _SHARPS)[root] + ending, root, tones, tuple(scale))


def progression(text: str, tonic: int, mode: str) -> list[list[Chord]]:
    """The bars of a progression, each a list of chords that share the bar evenly."""
    return [[chord(numeral, tonic, mode) for numeral in bar.split()] for bar in text.split("|")]


def nearest(pitch_class: int, target: float) -> int:
    """The pitch of `pitch_class` that is nearest to `target`."""
    return round((target - pitch_class) / 12) * 12 + pitch_class


def voicing(harmony: Chord, centre: int) -> list[int]:
    """The chord in close position around `centre`, four voices from below; a triad's lowest is doubled on top."""
    pitches = sorted(nearest(tone, centre) for tone in harmony.tones)
    return pitches if len(pitches) > 3 else [*pitches, pitches[0] + 12]


def scale_step(pitch: int, steps: int, scale: tuple[int, ...]) -> int:
    """The pitch `steps` scale steps above (below, where negative) `pitch`; a pitch off the scale first joins it."""
    ladder = _ladder(scale)
    start = min(range(len(ladder)), key=lambda i: (abs(ladder[i] - pitch), i))
    return ladder[max(0, min(len(ladder) - 1, start + steps))]


@cache
def _ladder(scale: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(pitch for pitch in range(128) if pitch % 12 in scale)


def random_key(rng: random.Random, mode: str) -> int:
    """A tonic out of a few: small models have little time to learn what belongs to a key."""
    return rng.choice({"major": (0, 7), "minor": (9, 4)}[mode])
