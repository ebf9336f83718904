"""MIDI to tokens and back, by mido: plain, exact and slow; `libretto.fast_midi` gives the same tokens far faster.

The tokens are those of the Anticipatory Music Transformer in arrival-time form (report, section 3.1): an event is the
three tokens (onset, duration, instrument and pitch), events in the order in which their notes begin.
"""

import heapq
from collections import defaultdict, deque
from dataclasses import dataclass, field
from io import BytesIO

import mido
import numpy as np

from libretto.vocab import (
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
MELODIC_CHANNELS = tuple(channel for channel in range(16) if channel != DRUM_CHANNEL)
UNCLOSED_DURATION = TICKS_PER_SECOND // 4  # of a note whose note-off never comes
MAX_ONSET = 2**31 - 1  # int32; far beyond the hour at which a song is dropped
VELOCITY = 72  # tokens carry no loudness
OFFSETS = np.array([TIME_OFFSET, DURATION_OFFSET, NOTE_OFFSET])


def midi_to_tokens(data: bytes) -> np.ndarray:
    """The whole song as tokens, the reference's way (`midi_to_events` of the `anticipation` package).

    Note-offs close the first open note of the same instrument, pitch and channel, where the instrument is the channel's
    program at the time of the note-off: a program change under a held note leaves it unclosed.

    Args:
        data: the content of a MIDI file.

    Returns:
        int32 [3 n], events in order of their onsets. Onsets are those of the whole song and may pass the vocabulary's
        9,999. Empty where the file has no notes.

    Raises:
        Exception: whatever mido raises for a file that it cannot read, such as `OSError`, `EOFError` or
            `KeySignatureError`; and `ValueError` where time runs backwards.
    """
    onsets, durations, notes = [], [], []
    open_notes = defaultdict(deque)
    programs = defaultdict(int)
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
    """The inverse of `events_to_tokens`: int64 [n, 3], nothing checked; onsets may be those of a whole song."""
    return np.asarray(tokens, np.int64).reshape(-1, TOKENS_PER_EVENT) - OFFSETS


def valid_events(tokens) -> tuple[np.ndarray, int]:
    """The events that stand in a sequence as a model sampled it.

    Tokens are read in triples from the start; a leading AUTOREGRESS is skipped, an incomplete last triple ignored.

    Args:
        tokens: ids [m].

    Returns:
        The valid events in the order of the sequence, int64 [n, 3]: onset (ticks), duration (ticks) and
        note (128 * instrument + pitch); and the number of triples that are no event.
    """
    tokens = np.asarray(tokens, np.int64)
    if len(tokens) and tokens[0] == AUTOREGRESS:
        tokens = tokens[1:]
    events = tokens_to_events(tokens[: len(tokens) // TOKENS_PER_EVENT * TOKENS_PER_EVENT])
    valid = ((events >= 0) & (events < (MAX_TIME, MAX_DURATION, INSTRUMENTS * PITCHES))).all(axis=1)
    return events[valid], int((~valid).sum())


def tokens_to_midi(tokens) -> mido.MidiFile:
    """The MIDI of the valid events in a sequence as a model sampled it (see `valid_events`, `events_to_midi`)."""
    return events_to_midi(valid_events(tokens)[0])


@dataclass
class _Channel:
    """What sounds on one MIDI channel."""

    number: int
    program: int | None = None
    busy_until: int = 0
    note_ends: dict[int, int] = field(default_factory=dict)  # per pitch, of the note that was begun last

    def can_play(self, program: int, pitch: int, end: int) -> bool:
        """Whether a reader that closes the first open note first will pair this note rightly."""
        return self.program == program and self.note_ends.get(pitch, 0) <= end


def events_to_midi(events: np.ndarray) -> mido.MidiFile:
    """MIDI with one tick of 10 ms per token tick, drums on channel 10, all on one track, whose order tells which of two
    simultaneous notes comes first.

    An instrument gets a channel when it first plays, and a further one for a note that would else be closed by the
    note-off of another of its pitch; where all fifteen are taken, one that is silent changes its program. So
    `midi_to_tokens` gives the events back, sorted by onset, unless more channels are needed at once than there are.

    Args:
        events: int [n, 3] as `valid_events` gives them, in any order.
    """
    midi = mido.MidiFile(type=0, ticks_per_beat=TICKS_PER_SECOND // 2)  # two beats a second is MIDI's default tempo
    track = mido.MidiTrack()
    midi.tracks.append(track)
    channels = [_Channel(number) for number in MELODIC_CHANNELS]
    drums = _Channel(DRUM_CHANNEL, DRUMS)
    now = 0
    pending = []  # heap of note-offs: end, channel, pitch

    def write(tick: int, kind: str, **values) -> None:
        nonlocal now
        track.append(mido.Message(kind, time=tick - now, **values))
        now = tick

    def write_note_offs(until: int | None) -> None:
        while pending and (until is None or pending[0][0] <= until):
            end, channel, pitch = heapq.heappop(pending)
            write(end, "note_off", channel=channel, note=pitch)

    for onset, duration, note in events[np.argsort(events[:, 0], kind="stable")].tolist():
        instrument, pitch = divmod(note, PITCHES)
        end = onset + duration
        write_note_offs(onset)
        channel = drums if instrument == DRUMS else _choose(channels, instrument, pitch, onset, end)
        if channel.program != instrument:
            channel.program = instrument
            write(onset, "program_change", channel=channel.number, program=instrument)
        write(onset, "note_on", channel=channel.number, note=pitch, velocity=VELOCITY)
        heapq.heappush(pending, (end, channel.number, pitch))
        if not duration:
            write_note_offs(onset)
        channel.busy_until = max(channel.busy_until, end)
        channel.note_ends[pitch] = end
    write_note_offs(None)
    return midi


def _choose(channels: list[_Channel], program: int, pitch: int, onset: int, end: int) -> _Channel:
    for channel in channels:
        if channel.can_play(program, pitch, end):
            return channel
    unused = [channel for channel in channels if channel.program is None]
    silent = [channel for channel in channels if channel.busy_until <= onset]
    if unused or silent:
        return unused[0] if unused else min(silent, key=lambda channel: channel.busy_until)
    same = [channel for channel in channels if channel.program == program]
    return min(same or channels, key=lambda channel: channel.busy_until)
