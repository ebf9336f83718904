"""Tokens of MIDI, by both tokenizers."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libretto.tokens import compiled, reference
from libretto.tokens.vocab import (
    AUTOREGRESS,
    DRUMS,
    DURATION_OFFSET,
    INSTRUMENTS,
    MAX_DURATION,
    MAX_TIME,
    NOTE_OFFSET,
    PITCHES,
    REST,
    SEPARATOR,
)
from tests.realmidi import manifest, midi_files
from tests.smf import files, hostile_files, meta, midi_file, number, off, on, program, tempo, track
from tests.smf import sysex as system_exclusive

BOTH = pytest.mark.parametrize(
    "tokenizer", [reference.midi_to_tokens_mido, compiled.midi_to_tokens_compiled], ids=["mido", "compiled"]
)


def events(tokenizer, *tracks, **header):
    return reference.tokens_to_events(tokenizer(midi_file(*tracks, **header))).tolist()


def outcome(tokenizer, data):
    """The tokens as a list, or the name of the exception."""
    try:
        return tokenizer(data).tolist()
    except Exception as error:
        return type(error).__name__


@BOTH
def test_a_note_is_onset_duration_and_instrument_with_pitch(tokenizer):
    tokens = tokenizer(midi_file(track((0, program(7)), (30, on(60)), (12, off(60)))))
    assert tokens.dtype == np.int32
    assert tokens.tolist() == [30, DURATION_OFFSET + 12, NOTE_OFFSET + 7 * PITCHES + 60]


@BOTH
def test_a_note_off_closes_the_first_open_note(tokenizer):
    assert events(tokenizer, track((0, on(60)), (10, on(60)), (10, off(60)), (10, off(60)))) == [
        [0, 20, 60],
        [10, 20, 60],
    ]


@BOTH
def test_a_program_change_under_a_held_note_loses_its_note_off(tokenizer):
    found = events(tokenizer, track((0, on(60)), (10, program(5)), (90, off(60)), (0, on(60)), (5, off(60))))
    assert found == [[0, reference.UNCLOSED_DURATION, 60], [100, 5, 5 * PITCHES + 60]]


@BOTH
def test_a_program_holds_for_its_channel_in_every_track(tokenizer):
    assert events(tokenizer, track((0, program(5))), track((10, on(60)), (5, off(60)))) == [[10, 5, 5 * PITCHES + 60]]


@BOTH
def test_durations_are_capped_and_zero_stays(tokenizer):
    found = events(tokenizer, track((0, on(60)), (0, off(60)), (0, on(61)), (5_000, off(61)), (0, on(62))))
    assert found == [[0, 0, 60], [0, MAX_DURATION - 1, 61], [5_000, reference.UNCLOSED_DURATION, 62]]


@BOTH
def test_the_tenth_channel_is_drums_whatever_its_program(tokenizer):
    found = events(tokenizer, track((0, on(36, 9)), (4, program(9, 9)), (4, off(36, 9))))
    assert found == [[0, 8, DRUMS * PITCHES + 36]]


@BOTH
def test_a_tempo_holds_for_all_tracks_from_its_time_on(tokenizer):
    found = events(tokenizer, track((100, tempo(1_000_000))), track((100, on(60)), (10, off(60)), (90, on(61))))
    assert found == [[100, 20, 60], [300, reference.UNCLOSED_DURATION, 61]]


@BOTH
def test_simultaneous_notes_keep_the_order_of_the_tracks(tokenizer):
    found = events(tokenizer, track((10, on(72)), (0, on(60))), track((0, on(50)), (10, on(40))))
    assert [note for _, _, note in found] == [50, 72, 60, 40]


@BOTH
def test_running_status_and_a_note_on_without_velocity(tokenizer):
    assert events(tokenizer, track((0, on(60)), (10, bytes([60, 0])))) == [[0, 10, 60]]


@BOTH
def test_tracks_go_on_after_an_end_of_track(tokenizer):
    assert events(tokenizer, track((5, meta(0x2F, b"")), (5, on(60)), (7, off(60)))) == [[10, 7, 60]]


@BOTH
def test_an_unknown_meta_message_takes_no_time(tokenizer):
    assert events(tokenizer, track((500, meta(0x60, b"")), (5, on(60)), (7, off(60)))) == [[5, 7, 60]]


@BOTH
def test_no_notes_no_tokens(tokenizer):
    assert tokenizer(midi_file()).shape == (0,)


@BOTH
@pytest.mark.parametrize("delta", [1 << 40, 1 << 60, 1 << 70])
def test_an_onset_beyond_int32_is_capped(tokenizer, delta):
    found = events(tokenizer, track((0, on(61)), (delta, on(60)), (0, off(61))), division=1)
    assert found == [[0, MAX_DURATION - 1, 61], [reference.MAX_ONSET, reference.UNCLOSED_DURATION, 60]]


@BOTH
@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", "EOFError"),
        (b"RIFF" + bytes(20), "OSError"),
        (midi_file(track((0, on(60))))[:-1], "EOFError"),
        (midi_file(track((0, on(60)))).replace(b"MTrk", b"Mtrk"), "OSError"),
        (midi_file(track((0, b"\x05"))), "OSError"),
        (midi_file(track((0, b"\xf4"))), "OSError"),
        (midi_file(track((0, b"\xf8"), (0, b"\x05"))), "ValueError"),
        (midi_file(track((0, bytes([0x90, 60, 200])))), "OSError"),
        (midi_file(track((0, b"\xff\x01" + number(1_000_001)))), "OSError"),
        (midi_file(track((0, system_exclusive(b"\x01\x90\x01")))), "ValueError"),
        (midi_file(track((0, meta(0x59, b"\x09\x00")))), "KeySignatureError"),
        (midi_file(track((0, meta(0x59, b"\x00\x02")))), "KeySignatureError"),
        (midi_file(track((0, meta(0x59, b"\x00")))), "IndexError"),
        (midi_file(track((0, meta(0x51, b"\x07\xa1")))), "IndexError"),
        (midi_file(track((0, meta(0x58, b"\x04\x1d\x18\x08")))), "ValueError"),
        (midi_file(track((0, meta(0x54, b"\xff\x00\x00\x00\x00")))), "KeyError"),
        (midi_file(track((0, meta(0x54, b"\x00\x3c")))), "ValueError"),
        (midi_file(track((0, on(60))), kind=2), "TypeError"),
        (midi_file(track((1, on(60))), division=0), "ZeroDivisionError"),
        (midi_file(track((1, meta(0x2F, b""))), division=0), "ZeroDivisionError"),
        (midi_file(track((1, on(60))), division=-6360), "ValueError"),
        (midi_file(track((1, meta(0x2F, b""))), division=-6360), "ValueError"),
        (midi_file(track((1 << 1040, on(60)))), "OverflowError"),
    ],
)
def test_what_cannot_be_read_is_refused_for_the_same_reason(tokenizer, data, error):
    assert outcome(tokenizer, data) == error


def test_no_file_keeps_mido_busy_for_long():
    notes = [(1, on(60)), (1, off(60))] * (compiled.MAX_BYTES_FOR_MIDO // 8 + 1)
    assert outcome(compiled.midi_to_tokens_compiled, midi_file(track((1 << 62, on(60)), *notes))) == "OverflowError"


def test_the_denominators_that_mido_refuses_are_refused():
    for power in range(256):
        data = midi_file(track((0, meta(0x58, bytes([4, power, 24, 8]))), (0, on(60))))
        assert outcome(compiled.midi_to_tokens_compiled, data) == outcome(reference.midi_to_tokens_mido, data)


@settings(max_examples=300, deadline=None)
@given(files())
def test_compiled_tokens_equal_midos(data):
    tokens = compiled.midi_to_tokens_compiled(data)
    assert tokens.tolist() == reference.midi_to_tokens_mido(data).tolist()
    found = reference.tokens_to_events(tokens)
    assert (np.diff(found[:, 0]) >= 0).all()
    assert ((found >= 0) & (found < (2**31, MAX_DURATION, INSTRUMENTS * PITCHES))).all()


@settings(max_examples=1_000, deadline=None)
@given(hostile_files, st.binary(max_size=3), st.integers(0, 2_000), st.booleans())
def test_compiled_outcomes_equal_midos_on_hostile_files(data, inserted, position, is_cut):
    position = min(position, len(data))
    data = data[:position] + inserted + (b"" if is_cut else data[position + len(inserted) :])
    assert outcome(compiled.midi_to_tokens_compiled, data) == outcome(reference.midi_to_tokens_mido, data)


def test_real_files_have_the_references_outcome():
    expected = manifest()
    for lmd_id, data in midi_files().items():
        found = outcome(compiled.midi_to_tokens_compiled, data)
        if isinstance(found, str):
            assert expected[lmd_id]["status"] == f"error:{found}"
        else:
            assert len(found) == 3 * int(expected[lmd_id]["n_events"] or 0)


def test_mutated_copies_of_real_files_have_midos_outcome():
    draw = random.Random(0)
    small = [data for data in midi_files().values() if 0 < len(data) < 12_000]
    for _ in range(150):
        data = bytearray(draw.choice(small))
        for _ in range(draw.randint(1, 4)):
            data[draw.randrange(len(data))] = draw.randrange(256)
        assert outcome(compiled.midi_to_tokens_compiled, bytes(data)) == outcome(
            reference.midi_to_tokens_mido, bytes(data)
        )


def test_valid_events_counts_what_is_no_event():
    good = [5, DURATION_OFFSET + 7, NOTE_OFFSET + 60]
    tokens = [AUTOREGRESS, *good, good[1], good[0], good[2], *good[:2], REST, SEPARATOR, SEPARATOR, SEPARATOR, *good, 3]
    found, n_invalid = reference.valid_events(tokens)
    assert found.tolist() == [[5, 7, 60], [5, 7, 60]]
    assert n_invalid == 3
    assert reference.valid_events([])[0].shape == (0, 3)


def test_the_bounds_of_valid_events():
    last = [MAX_TIME - 1, NOTE_OFFSET - 1, REST - 1]
    assert reference.valid_events(last)[0].tolist() == [[MAX_TIME - 1, MAX_DURATION - 1, INSTRUMENTS * PITCHES - 1]]
    for index in range(3):
        beyond = [token + (place == index) for place, token in enumerate(last)]
        assert reference.valid_events(beyond)[1] == 1
