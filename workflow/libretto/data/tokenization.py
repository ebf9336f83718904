"""Whole songs as tokens, and which of them the reference keeps (its filters: Thickstun et al., 2024)."""

from hashlib import sha256

import numpy as np
from numba.core.errors import NumbaError

from libretto.tokens.compiled import midi_to_tokens_compiled
from libretto.tokens.reference import tokens_to_events
from libretto.tokens.vocab import PITCHES, TICKS_PER_SECOND

MIN_EVENTS = 100
MIN_END_TIME = 10 * TICKS_PER_SECOND
MAX_END_TIME = 3_600 * TICKS_PER_SECOND
MAX_INSTRUMENTS = 16  # MIDI's channels; drums count as one


def tokenize_song(midi: bytes) -> dict | str:
    """One song's columns of `TOKENS` that come from its MIDI, or the reason why it is dropped.

    Returns:
        `n_events`, `end_time`, `instruments`, `midi_sha256`, `tokens_sha256` (of the tokens as little-endian int32) and
        `tokens`; or `error:<exception>` as mido raises it, `short`, `long` or `instruments`.
    """
    try:
        tokens = midi_to_tokens_compiled(midi)
    except (MemoryError, NumbaError):
        raise  # not the file's fault
    except Exception as error:  # mido may raise nearly anything for a file that it cannot read
        return f"error:{type(error).__name__}"
    events = tokens_to_events(tokens)
    if len(events) < MIN_EVENTS:
        return "short"
    end_time = int(events[:, 0].max())
    if end_time < MIN_END_TIME:
        return "short"
    if end_time > MAX_END_TIME:
        return "long"
    instruments = np.unique(events[:, 2] // PITCHES).astype(np.uint8)
    if len(instruments) > MAX_INSTRUMENTS:
        return "instruments"
    return {
        "n_events": len(events),
        "end_time": end_time,
        "instruments": instruments,
        "midi_sha256": sha256(midi).hexdigest(),
        "tokens_sha256": sha256(tokens.astype("<i4").tobytes()).hexdigest(),
        "tokens": tokens,
    }
