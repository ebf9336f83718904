"""MIDI to tokens, byte by byte in compiled code: what `libretto.tokens.reference` gives, errors included, far faster.

mido makes an object of every message, merges the tracks and copies each message four times; nearly all of its time goes
there. Here a file is read in the same three steps, over arrays:

1. `_read_messages` reads one track after the other and records the time, the kind and one value of each message;
2. a stable sort by time merges the tracks;
3. `_pair_notes` goes through the merged messages, adds up seconds as mido does (in the same order, as sums of floats
   depend on it) and pairs note-ons with note-offs.

What mido refuses is refused here with the same exception, found at the same byte. Only files with times that need
Python's unbounded integers are left to mido itself, if they are small: its walk over a large one would take minutes.
"""

import math

import numpy as np
from mido.midifiles.meta import KeySignatureError
from numba import njit

# Compiled code holds the values that these had when it was compiled: the rules give each state of the code a cache of
# its own (NUMBA_CACHE_DIR in common.smk); elsewhere, delete __pycache__ after changing them.
from libretto.tokens import reference
from libretto.tokens.vocab import DRUMS, MAX_DURATION, PITCHES, TICKS_PER_SECOND

# Kinds of messages. Any message ends a stretch of time that is added to the sum, so none is left out.
OTHER, NOTE_ON, NOTE_OFF, PROGRAM, TEMPO, END_OF_TRACK = range(6)

# What may be wrong with a file. `FOR_MIDO`: nothing yet, but mido has to read it.
OK, CUT_OFF, NO_HEADER, NO_TRACK, NO_STATUS, BAD_STATUS, BAD_DATA, TOO_LONG = range(8)
BAD_SYSEX, BAD_VALUE, SHORT_META, BAD_FRAME_RATE, BAD_KEY, ASYNCHRONOUS = range(8, 14)
VAST_TIME, NO_DIVISION, BACKWARDS, FOR_MIDO = range(14, 18)
REFUSALS = {
    CUT_OFF: (EOFError, "the file ends in the middle"),
    NO_HEADER: (OSError, "no MThd at the start"),
    NO_TRACK: (OSError, "no MTrk where a track should begin"),
    NO_STATUS: (OSError, "running status before any status"),
    BAD_STATUS: (OSError, "undefined status byte"),
    BAD_DATA: (OSError, "data byte over 127"),
    TOO_LONG: (OSError, "message of over 1,000,000 bytes"),
    BAD_SYSEX: (ValueError, "byte over 127 in a system exclusive message"),
    BAD_VALUE: (ValueError, "value out of range"),
    SHORT_META: (IndexError, "meta message too short"),
    BAD_FRAME_RATE: (KeyError, "unknown frame rate"),
    BAD_KEY: (KeySignatureError, "no such key"),
    ASYNCHRONOUS: (TypeError, "the tracks of a type 2 file are not one song"),
    VAST_TIME: (OverflowError, "delta time that no float holds"),
    NO_DIVISION: (ZeroDivisionError, "no ticks per beat"),
    BACKWARDS: (ValueError, "a message with a negative delta time"),
}

PADDING = bytes(16)  # zeros after the end, so that a number or a header can be read first and checked after
MAX_MESSAGE_LENGTH = 1_000_000  # mido's
MAX_BYTES_FOR_MIDO = (
    1 << 18
)  # bytes, of a file with a time of over `HUGE`: more would take mido longer than ten seconds
HUGE = 1 << 61  # ticks: two of these still fit into int64
VAST = HUGE + 1  # stands for a number over 2^1024, on which mido would work for hours
DEFAULT_TEMPO = 500_000  # microseconds per beat
UNDEFINED = -1
DATA_BYTES = np.full(256, UNDEFINED)  # that follow a status byte
DATA_BYTES[0x80:0xC0] = DATA_BYTES[0xE0:0xF0] = DATA_BYTES[0xF2] = 2
DATA_BYTES[0xC0:0xE0] = DATA_BYTES[0xF1] = DATA_BYTES[0xF3] = 1
DATA_BYTES[[0xF6, 0xF8, 0xFA, 0xFB, 0xFC, 0xFE]] = 0
# mido takes the logarithm to see whether a denominator is a power of two, and rounding refuses some that are.
GOOD_DENOMINATOR = np.array([math.log(2**power, 2) == power for power in range(256)])


def midi_to_tokens_compiled(data: bytes) -> np.ndarray:
    """The whole song as tokens: what `reference.midi_to_tokens_mido` returns, or the exception that it raises."""
    most = len(data) // 2 + 1  # a message takes two bytes at least
    ticks, messages = np.empty(most, np.int64), np.empty((most, 3), np.int32)
    count, ticks_per_beat, problem = _read_messages(np.frombuffer(data + PADDING, np.uint8), len(data), ticks, messages)
    if problem == FOR_MIDO:
        if len(data) > MAX_BYTES_FOR_MIDO:
            raise OverflowError(f"a time of over 2^61 ticks in a file of over {MAX_BYTES_FOR_MIDO:,} bytes")
        return reference.midi_to_tokens_mido(data)
    _refuse(problem)
    order = np.argsort(ticks[:count], kind="stable")
    events = np.empty((count, 3), np.int64)
    n_events, problem = _pair_notes(ticks[:count][order], messages[:count][order], ticks_per_beat, events)
    _refuse(problem)
    return reference.events_to_tokens(events[:n_events])


def _refuse(problem: int) -> None:
    if problem != OK:
        kind, message = REFUSALS[problem]
        raise kind(message)


@njit(cache=True)
def _read_messages(data, end, ticks, messages):
    """Fill `ticks` (onset of each message in its track) and `messages` (kind, channel, value), track after track.

    Returns the number of messages, the ticks per beat, and what is wrong with the file.
    """
    if end < 8:
        return 0, 0, CUT_OFF
    if not _is_name(data, 0, b"MThd"):
        return 0, 0, NO_HEADER
    size = _unsigned(data, 4)
    if min(size, end - 8) < 6:
        return 0, 0, CUT_OFF
    file_type, n_tracks, ticks_per_beat = _signed(data, 8), _signed(data, 10), _signed(data, 12)
    position = min(8 + size, end)
    count = 0
    is_huge = is_vast = False
    for _ in range(n_tracks):
        if position + 8 > end:
            return 0, 0, CUT_OFF
        if not _is_name(data, position, b"MTrk"):
            return 0, 0, NO_TRACK
        track_end = position + 8 + _unsigned(data, position + 4)
        position += 8
        running_status = 0
        tick = 0
        while position != track_end:
            delta, position = _read_number(data, position)
            if position >= end:
                return 0, 0, CUT_OFF
            kind, channel, value = OTHER, 0, 0
            status = data[position]
            position += 1
            is_running = status < 0x80
            if is_running:
                if running_status == 0:
                    return 0, 0, NO_STATUS
                status = running_status
            elif status != 0xFF:
                running_status = status
            if status in (0xFF, 0xF0, 0xF7):
                meta_type = -1
                if status == 0xFF:
                    if position >= end:
                        return 0, 0, CUT_OFF
                    meta_type = data[position]
                    position += 1
                length, position = _read_number(data, position)
                if position > end:
                    return 0, 0, CUT_OFF
                if length > MAX_MESSAGE_LENGTH:
                    return 0, 0, TOO_LONG
                if position + length > end:
                    return 0, 0, CUT_OFF
                if status == 0xFF:
                    problem = _check_meta(meta_type, data, position, length)
                    if meta_type == 0x51:
                        kind = TEMPO
                        value = (data[position] << 16) | (data[position + 1] << 8) | data[position + 2]
                    elif meta_type == 0x2F:
                        kind = END_OF_TRACK
                    elif not _is_known(meta_type):
                        delta = 0  # mido forgets the time of a meta message that it does not know
                else:
                    problem = _check_sysex(data, position, length)
                if problem != OK:
                    return 0, 0, problem
                position += length
            else:
                if DATA_BYTES[status] == UNDEFINED:
                    return 0, 0, BAD_STATUS
                if is_running:
                    position -= 1  # that byte was the first of the data
                    if DATA_BYTES[status] == 0:
                        return 0, 0, BAD_VALUE
                if position + DATA_BYTES[status] > end:
                    return 0, 0, CUT_OFF
                for index in range(position, position + DATA_BYTES[status]):
                    if data[index] > 127:
                        return 0, 0, BAD_DATA
                if status < 0xF0:
                    channel = status & 0x0F
                    value = data[position]
                    if status >> 4 == 0x9 and data[position + 1] > 0:
                        kind = NOTE_ON
                    elif status >> 4 in (0x8, 0x9):
                        kind = NOTE_OFF
                    elif status >> 4 == 0xC:
                        kind = PROGRAM
                position += DATA_BYTES[status]
            is_vast |= delta == VAST
            tick = min(tick + delta, HUGE)
            is_huge |= tick == HUGE
            ticks[count] = tick
            messages[count, 0], messages[count, 1], messages[count, 2] = kind, channel, value
            count += 1
    if file_type == 2:
        return 0, 0, ASYNCHRONOUS
    if is_vast:
        return 0, 0, VAST_TIME
    return count, ticks_per_beat, FOR_MIDO if is_huge else OK


@njit(cache=True)
def _pair_notes(ticks, messages, ticks_per_beat, events):
    """Fill `events` (onset, duration, note) from the merged messages.

    Returns how many there are, and what is wrong with the file.
    """
    last_tick = ticks[-1] if len(ticks) else 0
    if ticks_per_beat == 0 and last_tick > 0:
        return 0, NO_DIVISION
    # Open notes of one channel, program and pitch: a queue, linked from note to note.
    first_open = np.full(16 * PITCHES * PITCHES, -1, np.int32)
    last_open = np.empty(16 * PITCHES * PITCHES, np.int32)
    next_open = np.empty(len(events), np.int32)
    begun = np.empty(len(events), np.float64)
    programs = np.zeros(16, np.int64)
    n_events = 0
    seconds = 0.0
    tempo = DEFAULT_TEMPO
    now = 0
    for index in range(len(ticks)):
        kind, channel, value = messages[index, 0], messages[index, 1], messages[index, 2]
        if kind == END_OF_TRACK:
            continue  # mido drops it: its time is one stretch with that of the next message
        if ticks[index] > now:
            if ticks_per_beat < 0 and tempo > 0:
                return 0, BACKWARDS
            seconds += (ticks[index] - now) * (tempo * 1e-6 / ticks_per_beat)
            now = ticks[index]
        if kind == TEMPO:
            tempo = value
        elif kind == PROGRAM:
            programs[channel] = value
        elif kind in (NOTE_ON, NOTE_OFF):
            is_drum = channel == reference.DRUM_CHANNEL
            program = 0 if is_drum else programs[channel]
            queue = (channel * PITCHES + program) * PITCHES + value
            if kind == NOTE_ON:
                events[n_events, 0] = round(min(TICKS_PER_SECOND * seconds, reference.MAX_ONSET))
                events[n_events, 1] = reference.UNCLOSED_DURATION
                events[n_events, 2] = PITCHES * (DRUMS if is_drum else program) + value
                begun[n_events] = seconds
                next_open[n_events] = -1
                if first_open[queue] < 0:
                    first_open[queue] = n_events
                else:
                    next_open[last_open[queue]] = n_events
                last_open[queue] = n_events
                n_events += 1
            elif first_open[queue] >= 0:
                note = first_open[queue]
                first_open[queue] = next_open[note]
                events[note, 1] = round(min(TICKS_PER_SECOND * (seconds - begun[note]), MAX_DURATION - 1))
    if ticks_per_beat < 0 and tempo > 0 and last_tick > now:  # the end of the last track
        return 0, BACKWARDS
    return n_events, OK


@njit(cache=True)
def _read_number(data, position):
    """A number of variable length: the value, capped, and the position after it."""
    value = 0
    significant = 0
    while True:
        byte = data[position]
        position += 1
        value = value << 7 | (byte & 0x7F) if value < HUGE >> 7 else HUGE
        significant += value > 0
        if byte < 0x80:
            return (VAST if significant > 148 else value), position


@njit(cache=True)
def _check_meta(meta_type, data, start, length):
    """What mido would find wrong with a meta message, in its order: values are checked as they are read."""
    first = data[start]
    if meta_type == 0x00:  # sequence number
        return SHORT_META if length == 1 else OK
    if meta_type == 0x20:  # channel prefix
        return SHORT_META if length < 1 else OK
    if meta_type == 0x51:  # tempo
        return SHORT_META if length < 3 else OK
    if meta_type == 0x54:  # SMPTE offset
        if length < 1:
            return SHORT_META
        if first >> 5 > 3:
            return BAD_FRAME_RATE
        for index, highest in enumerate((59, 59, 255, 99)):  # minutes, seconds, frames, hundredths of frames
            if length < index + 2:
                return SHORT_META
            if data[start + index + 1] > highest:
                return BAD_VALUE
    elif meta_type == 0x58:  # time signature
        if length < 2:
            return SHORT_META
        if not GOOD_DENOMINATOR[data[start + 1]]:
            return BAD_VALUE
        if length < 4:
            return SHORT_META
    elif meta_type == 0x59:  # key signature: sharps from -7 to 7 as a signed byte, major or minor
        if length < 2:
            return SHORT_META
        if 7 < first < 249 or data[start + 1] > 1:
            return BAD_KEY
    return OK


@njit(cache=True)
def _check_sysex(data, start, length):
    stop = start + length
    if start < stop and data[start] == 0xF0:
        start += 1
    if start < stop and data[stop - 1] == 0xF7:
        stop -= 1
    for index in range(start, stop):
        if data[index] > 127:
            return BAD_SYSEX
    return OK


@njit(cache=True)
def _is_known(meta_type):
    return meta_type <= 0x07 or meta_type in (0x09, 0x20, 0x21, 0x2F, 0x51, 0x54, 0x58, 0x59, 0x7F)


@njit(cache=True)
def _is_name(data, position, name):
    first, second, third, fourth = name
    return (
        data[position] == first
        and data[position + 1] == second
        and data[position + 2] == third
        and data[position + 3] == fourth
    )


@njit(cache=True)
def _unsigned(data, position):
    value = 0
    for index in range(4):
        value = (value << 8) | data[position + index]
    return value


@njit(cache=True)
def _signed(data, position):
    value = (data[position] << 8) | data[position + 1]
    return value - 0x10000 if value >= 0x8000 else value
