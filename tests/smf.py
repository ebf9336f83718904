"""Standard MIDI files written byte by byte, so that tests can contain what mido would not write."""

import struct

from hypothesis import strategies as st


def number(value: int) -> bytes:
    """A number of variable length."""
    encoded = [value & 0x7F]
    while value := value >> 7:
        encoded.append(value & 0x7F | 0x80)
    return bytes(reversed(encoded))


def track(*messages: tuple[int, bytes]) -> bytes:
    """A track of (delta time, message) pairs."""
    body = b"".join(number(delta) + message for delta, message in messages)
    return b"MTrk" + struct.pack(">L", len(body)) + body


def midi_file(*tracks: bytes, kind: int = 1, division: int = 50) -> bytes:
    """A file; with the default division and tempo, a MIDI tick is a token's tick of 10 ms."""
    return b"MThd" + struct.pack(">Lhhh", 6, kind, len(tracks), division) + b"".join(tracks)


def on(pitch: int, channel: int = 0, velocity: int = 64) -> bytes:
    return bytes([0x90 | channel, pitch, velocity])


def off(pitch: int, channel: int = 0) -> bytes:
    return bytes([0x80 | channel, pitch, 0])


def program(value: int, channel: int = 0) -> bytes:
    return bytes([0xC0 | channel, value])


def meta(kind: int, data: bytes) -> bytes:
    return bytes([0xFF, kind]) + number(len(data)) + data


def tempo(microseconds: int) -> bytes:
    return meta(0x51, microseconds.to_bytes(3, "big"))


def sysex(data: bytes) -> bytes:
    return b"\xf0" + number(len(data)) + data


few_channels = st.sampled_from([0, 1, 9])
few_pitches = st.integers(60, 63)
notes = st.builds(on, few_pitches, few_channels, st.sampled_from([0, 64])) | st.builds(off, few_pitches, few_channels)
readable = (
    notes
    | notes  # twice as often as each of the others
    | st.builds(program, st.integers(0, 3), few_channels)
    | st.builds(tempo, st.integers(0, 2_000_000))
    | st.sampled_from([bytes([0xB0, 7, 100]), bytes([0xE1, 0, 64]), bytes([0xD0, 1]), bytes([0xA0, 60, 1]), b"\xf8"])
    | st.builds(meta, st.sampled_from([1, 5, 8, 0x2F, 0x60, 0x7F]), st.binary(max_size=4))
    | st.builds(sysex, st.lists(st.integers(0, 127), max_size=4).map(bytes))
)
odd = (
    st.builds(meta, st.sampled_from([0, 0x20, 0x21, 0x51, 0x54, 0x58, 0x59]), st.binary(max_size=6))
    | st.builds(sysex, st.binary(max_size=4))
    | st.builds(lambda status, data: bytes([status]) + data, st.integers(0x80, 0xFE), st.binary(max_size=3))
    | st.binary(min_size=1, max_size=3)  # running status, or nothing at all
)
short_deltas = st.integers(0, 300)
good_divisions = st.integers(1, 2_000)
single_song = st.just(1)
deltas = short_deltas | st.sampled_from([0, 0, 1 << 14, 1 << 28, 1 << 40, 1 << 65])
divisions = good_divisions | st.sampled_from([0, -1, -6360])


@st.composite
def files(draw, messages=readable, delta=short_deltas, division=good_divisions, kind=single_song):
    """Files of up to four tracks; equal statuses in a row are left out now and then (running status)."""
    tracks = []
    for _ in range(draw(st.integers(0, 4))):
        body, last = b"", None
        for message in draw(st.lists(messages, max_size=30)):
            runs = 0x80 <= message[0] < 0xF0 and message[0] == last and draw(st.booleans())
            body += number(draw(delta)) + (message[1:] if runs else message)
            last = message[0] if message[0] < 0xFF else last
        tracks.append(b"MTrk" + struct.pack(">L", len(body)) + body)
    return midi_file(*tracks, kind=draw(kind), division=draw(division))


hostile_files = files(readable | odd, deltas, divisions, st.integers(0, 2))
