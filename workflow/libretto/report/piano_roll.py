"""Piano rolls of samples, as paths of an SVG."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from libretto.tokens.instruments import INSTRUMENT_NAMES
from libretto.tokens.vocab import DRUMS, PITCHES, TICKS_PER_SECOND

MIN_RANGE = 24  # the fewest semitones that a piano roll shows, so that a single line does not fill it
DRUM_LANE_GAP = 3  # rows between the melodic instruments and the drums
GRID_SECONDS = 5


@dataclass(frozen=True)
class Roll:
    """A piano roll as SVG paths: x in ticks from the first onset, y in semitones from the highest pitch, drums below.

    Attributes:
        first_onset: in ticks; x = 0.
        width: ticks from the first onset to the end of the last note.
        height: rows.
        paths: pairs of colour class and path data.
        drum_line: row of the line above the drums; None if there are none.
        octaves: rows of the Cs.
    """

    first_onset: int
    width: int
    height: int
    paths: list[tuple[str, str]]
    drum_line: float | None
    octaves: list[int]

    @property
    def seconds(self) -> float:
        """How long the music lasts."""
        return self.width / TICKS_PER_SECOND

    @property
    def grid(self) -> list[int]:
        """Ticks of the vertical lines."""
        step = GRID_SECONDS * TICKS_PER_SECOND
        return list(range(step, self.width, step))


def piano_roll(events: np.ndarray, colours: Mapping[str, str]) -> Roll | None:
    """Draw `events`, int [n, 3] as `valid_events` gives them, in the `colours` of their instruments' names.

    Returns:
        None if there are no events.
    """
    if not len(events):
        return None
    onsets, durations, notes = events.T
    instruments, pitches = np.divmod(notes, PITCHES)
    first_onset = int(onsets.min())
    onsets = onsets - first_onset
    # A note of zero length still sounds: it gets one tick, so that it can be seen.
    durations = np.maximum(durations, 1)
    melodic = instruments != DRUMS
    top, bottom = _pitch_range(pitches[melodic])
    melodic_rows = top - bottom + 1
    rows = np.where(melodic, top - pitches, 0)
    height, drum_line = melodic_rows, None
    if not melodic.all():
        kinds, ranks = np.unique(-pitches[~melodic], return_inverse=True)
        rows[~melodic] = melodic_rows + DRUM_LANE_GAP + ranks
        height = melodic_rows + DRUM_LANE_GAP + len(kinds)
        drum_line = melodic_rows + DRUM_LANE_GAP / 2
    paths: dict[str, list[str]] = {}
    for onset, duration, row, instrument in zip(onsets, durations, rows, instruments, strict=True):
        paths.setdefault(colours[INSTRUMENT_NAMES[instrument]], []).append(f"M{onset} {row}h{duration}v1h-{duration}z")
    return Roll(
        first_onset=first_onset,
        width=int((onsets + durations).max()),
        height=int(height),
        paths=[(colour, "".join(parts)) for colour, parts in sorted(paths.items())],
        drum_line=drum_line,
        octaves=[top - pitch for pitch in range(bottom, top + 1) if pitch % 12 == 0],
    )


def _pitch_range(pitches: np.ndarray) -> tuple[int, int]:
    """The highest and the lowest pitch to show: one semitone beyond the notes, and `MIN_RANGE` apart at least."""
    if not len(pitches):
        return 0, 0
    low, high = int(pitches.min()) - 1, int(pitches.max()) + 1
    missing = max(0, MIN_RANGE - (high - low))
    return high + missing // 2, low - (missing + 1) // 2
