"""MIDI of events, read back by the reference tokenizer and by the field's other readers."""

import re
import shutil
import subprocess
from collections import Counter
from io import BytesIO

import miditoolkit
import numpy as np
import pretty_midi
import pytest
import symusic
from hypothesis import example, given, settings
from hypothesis import strategies as st

from libretto.data.splits import chunk_song
from libretto.tokens import compiled, reference
from libretto.tokens.midi_writer import events_to_midi
from libretto.tokens.vocab import DRUMS, INSTRUMENTS, PITCHES
from tests.realmidi import midi_files


def write(events):
    """The bytes of the file, and how many notes another program plays."""
    file, n_substituted = events_to_midi(np.asarray(events).reshape(-1, 3))
    stream = BytesIO()
    file.save(file=stream)
    return stream.getvalue(), n_substituted


def ticks(seconds):
    return round(100 * seconds)


def note(onset, end, program, is_drum, pitch):
    instrument = DRUMS if is_drum else program
    return ticks(onset), ticks(end) - ticks(onset), PITCHES * instrument + pitch


def by_mido(data):
    return map(tuple, reference.tokens_to_events(reference.midi_to_tokens_mido(data)).tolist())


def by_symusic(data):
    score = symusic.Score.from_midi(data).to("second")
    return (note(n.time, n.time + n.duration, t.program, t.is_drum, n.pitch) for t in score.tracks for n in t.notes)


def by_pretty_midi(data):
    instruments = pretty_midi.PrettyMIDI(BytesIO(data)).instruments
    return (note(n.start, n.end, i.program, i.is_drum, n.pitch) for i in instruments for n in i.notes)


def by_miditoolkit(data):
    file = miditoolkit.MidiFile(file=BytesIO(data))
    second = file.get_tick_to_time_mapping()
    notes = ((i, n) for i in file.instruments for n in i.notes)
    return (note(second[n.start], second[n.end], i.program, i.is_drum, n.pitch) for i, n in notes)


TRACK_READERS = [by_symusic, by_pretty_midi, by_miditoolkit]
READERS = pytest.mark.parametrize("read", [by_mido, *TRACK_READERS], ids=lambda read: read.__name__)

event = st.tuples(st.integers(0, 9_999), st.integers(0, 999), st.integers(0, INSTRUMENTS * PITCHES - 1))
few_notes = st.tuples(st.integers(0, 60), st.integers(0, 30), st.sampled_from([60, 61, 128 + 60, 5 * 128 + 60]))


def notes(rows):
    return Counter(map(tuple, np.asarray(rows).reshape(-1, 3).tolist()))


def nested_drums(rows):
    """Strokes on one drum that end before an earlier one: drums have one channel, on which mido swaps the two."""
    ends = Counter()
    nested = 0
    for onset, duration, stroke in sorted(rows, key=lambda row: row[0]):
        if stroke >= DRUMS * PITCHES:
            nested += ends[stroke] > onset + duration
            ends[stroke] = max(ends[stroke], onset + duration)
    return nested


@READERS
@settings(max_examples=100, deadline=None)
@given(rows=st.lists(event, max_size=15).filter(lambda rows: not nested_drums(rows)))
def test_every_reader_finds_the_notes(read, rows):
    data, n_substituted = write(rows)
    assert n_substituted == 0
    assert Counter(read(data)) == notes(rows)


@READERS
@settings(max_examples=100, deadline=None)
@given(rows=st.lists(few_notes, max_size=15))
@example(rows=[(0, 30, 60), (0, 20, 60), (0, 10, 60), (5, 0, 60)])  # each one ends before the earlier ones
def test_nested_and_repeated_notes_of_one_pitch_come_back(read, rows):
    assert Counter(read(write(rows)[0])) == notes(rows)


@READERS
def test_forty_instruments_one_after_the_other_share_the_channels(read):
    rows = [[10 * i, 9, PITCHES * i + 60] for i in range(40)]
    data, n_substituted = write(rows)
    assert n_substituted == 0
    assert Counter(read(data)) == notes(rows)


@READERS
def test_pieces_of_more_than_127_tracks_come_back(read):
    rows = [[3 * i, 2, PITCHES * instrument + 60] for i, instrument in enumerate([*range(INSTRUMENTS)] * 2)]
    data, n_substituted = write(rows)
    assert n_substituted == 0
    assert len(events_to_midi(np.array(rows))[0].tracks) <= 128
    assert Counter(read(data)) == notes(rows)


def test_a_note_that_is_repeated_341_times_at_once():
    rows = [[0, 50, 60]] * 341
    assert Counter(by_mido(write(rows)[0])) == notes(rows)
    assert len(events_to_midi(np.array(rows))[0].tracks) <= 128


@READERS
def test_a_sixteenth_program_takes_over_where_another_ends(read):
    rows = [[0, 100 + 10 * i, PITCHES * 8 * i + 60] for i in range(15)] + [[100, 50, PITCHES * 5 + 60]]
    data, n_substituted = write(rows)
    assert n_substituted == 0
    assert Counter(read(data)) == notes(rows)


@READERS
def test_a_program_returns_to_its_channel_where_another_ends(read):
    """Its track comes before the other's: a program change at the same tick would come before the note-off."""
    others = [[0, 900, PITCHES * (8 * i + 2) + 60] for i in range(14)]
    rows = [*others, [0, 10, PITCHES * 5 + 60], [20, 80, PITCHES * 6 + 60], [100, 10, PITCHES * 5 + 60]]
    data, n_substituted = write(rows)
    assert n_substituted == 0
    assert Counter(read(data)) == notes(rows)


@READERS
def test_a_repeated_note_takes_no_channel_that_another_program_will_need(read):
    rows = [[0, 500, 60], [1, 600, 60], *([2, 500, PITCHES * program + 60] for program in range(1, 15))]
    data, n_substituted = write(rows)
    assert n_substituted == 0
    assert Counter(read(data)) == notes(rows)


@READERS
def test_a_repeated_note_shares_the_channel_on_which_it_ends_last(read):
    late = [[2, 500, PITCHES * program + 60] for program in range(1, 14)]
    rows = [[0, 500, 60], [1, 100, 60], *late, [3, 200, 60]]  # on the first's channel, two ends would be swapped
    assert Counter(read(write(rows)[0])) == notes(rows)


@READERS
def test_layers_are_kept_apart_where_tracks_are_shared(read):
    rows = [[3 * i, 2, PITCHES * instrument + 60] for i, instrument in enumerate([*range(INSTRUMENTS)] * 2)]
    rows += [[1_000, 10, PITCHES * DRUMS + 36], [1_005, 10, PITCHES * DRUMS + 36]]
    assert Counter(read(write(rows)[0])) == notes(rows)


@READERS
def test_fifteen_instruments_and_drums_play_at_once(read):
    rows = [[i % 7, 500 + i, PITCHES * program + 60] for i, program in enumerate([*range(0, 120, 8), DRUMS])]
    assert Counter(read(write(rows)[0])) == notes(rows)


@READERS
def test_of_more_than_fifteen_the_nearest_programs_play_the_rest(read):
    rows = [[i, 500, PITCHES * 8 * i + 60] for i in range(15)]  # the first program of fifteen of the sixteen families
    late = [[20, 10, PITCHES * (8 * 3 + 2) + 61], [21, 10, PITCHES * 127 + 62]]
    data, n_substituted = write(rows + late)
    assert n_substituted == 2
    assert Counter(read(data)) == notes([*rows, [20, 10, PITCHES * 8 * 3 + 61], [21, 10, PITCHES * 8 * 14 + 62]])


@READERS
def test_every_reader_finds_the_notes_of_real_music(read):
    n_notes = n_wrong = n_nested = 0
    for data in midi_files().values():
        try:
            tokens = compiled.midi_to_tokens_compiled(data)
        except Exception:
            continue
        chunks, _ = chunk_song(tokens, 1024, "drop")
        if not chunks:
            continue
        rows = reference.valid_events(chunks[len(chunks) // 2])[0]
        written, n_substituted = write(rows)
        assert n_substituted == 0
        n_notes += len(rows)
        n_wrong += (notes(rows) - Counter(read(written))).total()
        n_nested += nested_drums(rows.tolist())
    assert n_notes > 18_000
    assert n_wrong == 0 or (read is by_mido and n_wrong <= 2 * n_nested)


def test_the_file_is_one_for_musicians():
    rows = [[50, 20, PITCHES * 40 + 69], [0, 10, PITCHES * DRUMS + 36], [0, 30, 60], [10, 30, 60], [10, 30, 64]]
    file, _ = events_to_midi(np.array(rows))
    assert file.type == 1
    tempo, *parts = file.tracks
    assert [(m.type, m.tempo) for m in tempo] == [("set_tempo", 500_000)]
    assert [part.name for part in parts] == ["Drum Kit", "Acoustic Grand Piano", "Acoustic Grand Piano 2", "Violin"]
    first = [next(message for message in part if not message.is_meta) for part in parts]
    assert [(m.type, m.channel, m.program, m.time) for m in first] == [
        ("program_change", 9, 0, 0),
        ("program_change", 0, 0, 0),
        ("program_change", 1, 0, 0),
        ("program_change", 2, 40, 0),
    ]


def test_track_names_are_general_midis():
    rows = [np.array([[10 * i, 5, PITCHES * i + 60] for i in half]) for half in (range(64), range(64, 128))]
    names = [track.name for half in rows for track in events_to_midi(half)[0].tracks[1:]]

    def letters(name):
        return re.sub(r"[^a-z0-9]", "", name.lower())

    differing = {
        theirs: name
        for program, name in enumerate(names)
        if letters(name) != letters(theirs := pretty_midi.program_to_instrument_name(program))
    }
    assert differing == {"Clavinet": "Clavi", "Bagpipe": "Bagpipes"}  # General MIDI 1 has them as we do


@pytest.mark.skipif(not shutil.which("midi2abc"), reason="midi2abc (Debian's package abcmidi) is not installed")
def test_a_notation_program_opens_it(tmp_path):
    rows = [[50 * i, 50, PITCHES * program + 60 + i] for i in range(8) for program in (0, 40, DRUMS)]
    (tmp_path / "piece.mid").write_bytes(write(rows)[0])
    abc = subprocess.run(["midi2abc", "piece.mid"], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    voices = re.findall(r"^V:\d+", abc, flags=re.MULTILINE)
    assert len(voices) == 3
    assert "%%MIDI program 40" in abc
    assert "Q:1/4=120" in abc
