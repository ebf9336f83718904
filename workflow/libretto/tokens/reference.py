"""MIDI to tokens by mido: plain, exact and slow; `libretto.tokens.compiled` gives the same tokens far faster.

The tokens are those of the Anticipatory Music Transformer in arrival-time form (paper, section 3.1): an event is the
three tokens (onset, duration, instrument and pitch), events in the order in which their notes begin.
"""

from collections import defaultdict, deque
from io import BytesIO

import mido
import numpy as np

from libretto.tokens.vocab import (
    AUTOREGRESS,
    DRUMS,
    DURATION_OFFSET,
    INSTRUMENTS,
    MAX_DURATION,
    MAX_TIME,
    NOTE_OFFSET,
    PITCHES,
    TICKS_PER_SECOND,
    TIME_OFFSET,
    TOKENS_PER_EVENT,
)

DRUM_CHANNEL = 9  # MIDI's channel 10, counted from 0
UNCLOSED_DURATION = TICKS_PER_SECOND // 4  # of a note whose note-off never comes
MAX_ONSET = 2**31 - 1  # int32; far beyond the hour at which a song is dropped
OFFSETS = np.array([TIME_OFFSET, DURATION_OFFSET, NOTE_OFFSET])


def midi_to_tokens_mido(data: bytes) -> np.ndarray:
    """The whole song as tokens, the reference's way (`midi_to_events` of the `anticipation` package).

    Note-offs close the first open note of the same instrument, pitch and channel, where the instrument is the channel's
    program at the time of the note-off: a program change under a held note leaves it unclosed.

    Args:
        data: the content of a MIDI file.

    Returns:
        int32 [3 n], events in order of their onsets. Onsets are those of the whole song and may pass the vocabulary's
        9,999. Empty if the file has no notes.

    Raises:
        Exception: whatever mido raises for a file that it cannot read, such as `OSError`, `EOFError` or
            `KeySignatureError`; and `ValueError` if time runs backwards.
    """
    onsets: list[int] = []
    durations: list[int] = []
    notes: list[int] = []
    open_notes: defaultdict[tuple[int, int, int], deque[tuple[int, float]]] = defaultdict(deque)
    programs: defaultdict[int, int] = defaultdict(int)
    seconds = 0.0
    for message in mido.MidiFile(file=BytesIO(data)):
        if message.time < 0:
            raise ValueError("a message with a negative delta time")
        seconds += message.time
        if message.type == "program_change":
            programs[message.channel] = message.program
        elif message.type in ("note_on", "note_off"):
            instrument = DRUMS if message.channel == DRUM_CHANNEL else programs[message.channel]
            held = open_notes[instrument, message.note, message.channel]
            if message.type == "note_on" and message.velocity > 0:
                held.append((len(onsets), seconds))
                onsets.append(min(round(TICKS_PER_SECOND * seconds), MAX_ONSET))
                durations.append(UNCLOSED_DURATION)
                notes.append(PITCHES * instrument + message.note)
            elif held:
                index, begun = held.popleft()
                durations[index] = min(round(TICKS_PER_SECOND * (seconds - begun)), MAX_DURATION - 1)
    return events_to_tokens(np.array([onsets, durations, notes], np.int64).T)


def events_to_tokens(events: np.ndarray) -> np.ndarray:
    """Tokens, int32 [3 n], of `events`, int [n, 3] as `valid_events` gives them."""
    return (events + OFFSETS).astype(np.int32).ravel()


def tokens_to_events(tokens: np.ndarray) -> np.ndarray:
    """The inverse of `events_to_tokens`: int64 [n, 3], unchecked; onsets may be those of a whole song."""
    return np.asarray(tokens, np.int64).reshape(-1, TOKENS_PER_EVENT) - OFFSETS


def valid_events(tokens) -> tuple[np.ndarray, int]:
    """The valid events of a sequence as a model sampled it.

    Tokens are read in triples from the start; a leading AUTOREGRESS is skipped, an incomplete last triple ignored.

    Args:
        tokens: ids [m].

    Returns:
        The valid events in the order of the sequence, int64 [n, 3]: onset (ticks), duration (ticks) and
        note (128 * instrument + pitch); and the number of triples that are not a valid event.
    """
    tokens = np.asarray(tokens, np.int64)
    if len(tokens) and tokens[0] == AUTOREGRESS:
        tokens = tokens[1:]
    events = tokens_to_events(tokens[: len(tokens) // TOKENS_PER_EVENT * TOKENS_PER_EVENT])
    valid = ((events >= 0) & (events < (MAX_TIME, MAX_DURATION, INSTRUMENTS * PITCHES))).all(axis=1)
    return events[valid], int((~valid).sum())
