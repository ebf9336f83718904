"""Events as a MIDI file for synthesizers, sequencers and notation programs (paper, section 5.1, inference)."""

from collections import defaultdict
from dataclasses import dataclass, field
from itertools import chain

import mido
import numpy as np

from libretto.tokens.instruments import general_midi_name
from libretto.tokens.reference import DRUM_CHANNEL
from libretto.tokens.vocab import DRUMS, PITCHES, TICKS_PER_SECOND

MELODIC_CHANNELS = tuple(channel for channel in range(16) if channel != DRUM_CHANNEL)
TEMPO = 500_000  # microseconds a beat: 120 beats a minute, which MIDI assumes if a file names no tempo
TICKS_PER_BEAT = 500  # so that a tick of the file is 1 ms
SCALE = 1000 // TICKS_PER_SECOND  # ticks of the file per token tick
VELOCITY = 72  # tokens carry no loudness
MAX_TRACKS = 128  # FluidSynth plays nothing of a file with more
MAX_LAYERS = (MAX_TRACKS - 1) // 16  # tracks of one channel, where there would be too many

# Of simultaneous messages in a track, which comes first.
NOTE_OFF, PROGRAM_CHANGE, NOTE_ON = range(3)


def events_to_midi(events: np.ndarray) -> tuple[mido.MidiFile, int]:
    """A type 1 file in ticks of 1 ms at 120 beats a minute: one track that sets the tempo, then one per instrument.

    Each program has a channel of its own, as long as the fifteen suffice. A note that overlaps another of its
    instrument and pitch goes to a further track, and to a further channel where one is spare: most readers, and
    FluidSynth, would end both notes at the first note-off. Where more than fifteen programs take turns, a program takes
    over an idle channel. Where more than fifteen sound at once, the note plays on the channel of the nearest program in
    General MIDI's order, which groups similar instruments. A piece that would need more than 127 tracks gets a few for
    each channel instead.

    A note of zero length lasts 1 ms, because some readers drop notes that end where they begin.

    The notes read back are those of `events`, with two exceptions. Some notes may be played by another program. And
    readers that follow channels, not tracks, such as the reference tokenizer, swap the ends of two notes of one channel
    and pitch where the later one ends first. That happens to drums, which have one channel, and to others once no
    channel is spare.

    Args:
        events: int [n, 3] as `valid_events` gives them, in any order.

    Returns:
        The file, and the number of notes that another program plays.
    """
    rows = events[np.argsort(events[:, 0], kind="stable")].tolist()
    notes = [(*divmod(note, PITCHES), SCALE * onset, SCALE * duration) for onset, duration, note in rows]
    band = _Band({program: onset for program, _, onset, _ in notes})
    n_substituted = 0
    for program, pitch, onset, duration in notes:
        n_substituted += band.add_note(program, pitch, onset, onset + max(duration, 1))
    midi = mido.MidiFile(type=1, ticks_per_beat=TICKS_PER_BEAT)
    midi.tracks.append(mido.MidiTrack([mido.MetaMessage("set_tempo", tempo=TEMPO)]))
    midi.tracks += band.tracks()
    return midi, n_substituted


@dataclass(eq=False)
class _Channel:
    """A MIDI channel.

    Attributes:
        number: from 0.
        program: what it plays now, of General MIDI or DRUMS; None before its first note.
        since: when it began to, in ticks of the file.
        busy_until: when its last note ends.
        parts: of each program that it ever played.
    """

    number: int
    program: int | None = None
    since: int = 0
    busy_until: int = -1
    parts: dict[int, list["_Part"]] = field(default_factory=lambda: defaultdict(list))

    def ends_in_order(self, program: int, pitch: int, end: int) -> bool:
        """Whether all notes of this pitch end by `end`, so that a reader that closes the oldest one first is right."""
        return all(part.ends.get(pitch, -1) <= end for part in self.parts[program])


@dataclass(eq=False)
class _Part:
    """A track: notes of one program on one channel, of which no two sound at one pitch at the same time.

    Attributes:
        channel: of all its notes.
        program: of General MIDI, or DRUMS.
        name: of the track.
        layer: how many parts of this program the channel had before.
        ends: when the last note of each pitch ends.
        messages: (tick, NOTE_OFF or PROGRAM_CHANGE or NOTE_ON, message).
    """

    channel: _Channel
    program: int
    name: str
    layer: int
    ends: dict[int, int] = field(default_factory=dict)
    messages: list[tuple[int, int, mido.Message]] = field(default_factory=list)

    def add_program_change(self, tick: int) -> None:
        # The program of the drum channel is its kit, 0 the standard one. Some synthesizers play no drums without it.
        program = 0 if self.program == DRUMS else self.program
        message = mido.Message("program_change", channel=self.channel.number, program=program)
        self.messages.append((tick, PROGRAM_CHANGE, message))

    def add_note(self, pitch: int, onset: int, end: int) -> None:
        note = {"channel": self.channel.number, "note": pitch}
        self.messages.append((onset, NOTE_ON, mido.Message("note_on", velocity=VELOCITY, **note)))
        self.messages.append((end, NOTE_OFF, mido.Message("note_off", **note)))
        self.ends[pitch] = end
        self.channel.busy_until = max(self.channel.busy_until, end)

    def end_before(self, tick: int) -> None:
        """Let notes that end at `tick` end 1 ms earlier: a program change there, in another track, may come first."""
        self.messages = [
            (end - 1 if (end, kind) == (tick, NOTE_OFF) else end, kind, message) for end, kind, message in self.messages
        ]


class _Band:
    """Gives every note a channel and a part; notes come in order of their onsets.

    Args:
        last_onsets: the last onset of each program, in ticks of the file.
    """

    def __init__(self, last_onsets: dict[int, int]):
        self.last_onsets = last_onsets
        self.parts: list[_Part] = []
        self.melodic = [_Channel(number) for number in MELODIC_CHANNELS]
        self.drums = _Channel(DRUM_CHANNEL, DRUMS)

    def add_note(self, program: int, pitch: int, onset: int, end: int) -> bool:
        """Add a note; returns whether another program plays it."""
        part = self._choose(program, pitch, onset, end)
        is_substituted = part is None
        if part is None:
            sounding = [channel.program for channel in self.melodic if channel.program is not None]
            nearest = min(sounding, key=lambda other: abs(other - program))
            part = self._choose(nearest, pitch, onset, end)
            assert part is not None  # a program that has a channel finds a part
        part.add_note(pitch, onset, end)
        return is_substituted

    def _choose(self, program: int, pitch: int, onset: int, end: int) -> _Part | None:
        """The part for a note; None if all channels are sounding and none has the program."""
        channels = [self.drums] if program == DRUMS else self.melodic
        own = [channel for channel in channels if channel.program == program]
        for channel in own:
            for part in channel.parts[program]:
                if part.ends.get(pitch, -1) <= onset:
                    return part
        idle = [channel for channel in channels if channel.busy_until <= onset]
        spare = [channel for channel in idle if channel.program is None or self.last_onsets[channel.program] < onset]
        if own:
            if len(spare) > self._n_waiting(onset):
                return self._take(spare[0], program, onset)
            return self._new_part(next((c for c in own if c.ends_in_order(program, pitch, end)), own[0]), program)
        if idle:
            return self._take(min(spare or idle, key=lambda channel: channel.busy_until), program, onset)
        return None

    def _n_waiting(self, onset: int) -> int:
        """How many programs have yet to play and have no channel."""
        to_play = {program for program, last in self.last_onsets.items() if last >= onset}
        return len(to_play - {channel.program for channel in self.melodic} - {DRUMS})

    def _take(self, channel: _Channel, program: int, onset: int) -> _Part:
        """Let an idle channel play `program` from now on; returns a part of it in which nothing sounds."""
        for part in chain.from_iterable(channel.parts.values()):
            part.end_before(onset)
        channel.since = 0 if channel.program is None else onset
        channel.program = program
        if not channel.parts[program]:
            return self._new_part(channel, program)
        for part in channel.parts[program]:
            part.add_program_change(onset)
        return channel.parts[program][0]

    def _new_part(self, channel: _Channel, program: int) -> _Part:
        number = 1 + sum(part.program == program for part in self.parts)
        name = general_midi_name(program) + (f" {number}" if number > 1 else "")
        part = _Part(channel, program, name, len(channel.parts[program]))
        part.add_program_change(channel.since)
        channel.parts[program].append(part)
        self.parts.append(part)
        return part

    def tracks(self) -> list[mido.MidiTrack]:
        """A track per part; if there would be too many, tracks that several programs of a channel share."""
        shared = defaultdict(list)
        for number, part in enumerate(self.parts):
            is_whole = len(self.parts) < MAX_TRACKS
            layer = min(part.layer, MAX_LAYERS - 1)
            shared[number if is_whole else (part.channel.number, layer)].append(part)
        return [_track(parts) for parts in shared.values()]


def _track(parts: list[_Part]) -> mido.MidiTrack:
    name = parts[0].name if len(parts) == 1 else f"Channel {parts[0].channel.number + 1}"
    track = mido.MidiTrack([mido.MetaMessage("track_name", name=name)])
    now = 0
    for tick, _, message in sorted((entry for part in parts for entry in part.messages), key=lambda entry: entry[:2]):
        track.append(message.copy(time=tick - now))
        now = tick
    return track
