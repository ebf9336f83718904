"""Songs: the reference's filters; chunks, cuts and duplicates; the counts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libretto.data.middle import middle_chunk
from libretto.data.splits import assign_splits, chunk_song, find_duplicates
from libretto.data.summary import summarize
from libretto.data.tokenization import MAX_INSTRUMENTS, MIN_EVENTS, tokenize_song
from libretto.tokens.reference import events_to_tokens, valid_events
from libretto.tokens.vocab import AUTOREGRESS, MAX_TIME
from tests.smf import midi_file, off, on, program, track


def song(n_notes=MIN_EVENTS, last_onset=1_000, instruments=1):
    """A file of `n_notes` notes that begin together, except the last one."""
    messages = []
    for index in range(n_notes):
        messages.append((0, program(index % instruments)))
        messages.append((last_onset if index == n_notes - 1 else 0, on(60)))
        messages.append((0, off(60)))
    return midi_file(track(*messages))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (song(n_notes=MIN_EVENTS - 1), "short"),
        (song(last_onset=999), "short"),
        (song(last_onset=360_001), "long"),
        (song(instruments=MAX_INSTRUMENTS + 1), "instruments"),
        (midi_file(), "short"),
        (b"", "error:EOFError"),
        (b"RIFFRIFFRIFF", "error:OSError"),
    ],
)
def test_what_the_reference_drops_is_dropped(data, reason):
    assert tokenize_song(data) == reason


@pytest.mark.parametrize("data", [song(), song(last_onset=360_000), song(instruments=MAX_INSTRUMENTS)])
def test_what_is_just_within_the_bounds_is_kept(data):
    found = tokenize_song(data)
    assert found["n_events"] == MIN_EVENTS
    assert found["end_time"] == int(found["tokens"][0::3].max())
    assert found["instruments"].dtype == np.uint8


def events(onsets):
    return np.array([[onset, 10, 60] for onset in onsets], np.int64).reshape(-1, 3)


@pytest.mark.parametrize(("chunk_tokens", "size"), [(1_024, 341), (4_096, 1_365), (16_384, 5_461), (256, 85)])
def test_chunks_fill_the_context(chunk_tokens, size):
    chunks, too_long = chunk_song(events_to_tokens(events(range(2 * size + 5))), chunk_tokens, "drop")
    assert [len(chunk) for chunk in chunks] == [1 + 3 * size, 1 + 3 * size, 1 + 3 * 5]
    assert too_long == 0
    assert all(len(chunk) <= chunk_tokens and chunk.dtype == np.uint16 for chunk in chunks)
    assert all(chunk[0] == AUTOREGRESS and chunk[1] == 0 for chunk in chunks)


def test_a_chunk_of_a_hundred_seconds_is_left_out():
    onsets = [0, MAX_TIME - 1, 70_000, 70_000 + MAX_TIME, 80_000]
    chunks, too_long = chunk_song(events_to_tokens(events(onsets)), 7, "drop")
    assert [chunk[1::3].tolist() for chunk in chunks] == [[0, MAX_TIME - 1], [0]]
    assert too_long == 1


@pytest.mark.parametrize("chunk_tokens", [1_024, 4_096, 16_384])
def test_long_chunks_are_cut_at_a_hundred_seconds_and_lose_nothing(chunk_tokens):
    found = events(range(0, 5_000 * 23, 23))  # four notes a second, for twenty minutes
    chunks, n_dropped = chunk_song(events_to_tokens(found), chunk_tokens, "cut")
    assert n_dropped == 0
    assert sum((len(chunk) - 1) // 3 for chunk in chunks) == len(found)
    most = min((chunk_tokens - 1) // 3, -(-MAX_TIME // 23))
    assert {(len(chunk) - 1) // 3 for chunk in chunks[:-1]} == {most}
    assert all(chunk[1] == 0 and chunk[-3] < MAX_TIME for chunk in chunks)


@given(st.lists(st.integers(0, 3_000), min_size=1, max_size=60), st.integers(4, 40))
def test_chunks_hold_every_event_once_and_in_range(gaps, chunk_tokens):
    found = events(np.cumsum(gaps))
    chunks, too_long = chunk_song(events_to_tokens(found), chunk_tokens, "drop")
    size = (chunk_tokens - 1) // 3
    assert len(chunks) + too_long == -(-len(found) // size)
    starts = iter(range(0, len(found), size))
    for chunk in chunks:
        inside, n_invalid = valid_events(chunk)
        assert n_invalid == 0
        while True:  # the chunks left out lie between
            original = found[(start := next(starts)) : start + size]
            if original[-1, 0] - original[0, 0] < MAX_TIME:
                break
        assert (inside == original - [original[0, 0], 0, 0]).all()


@pytest.mark.parametrize(("chunks", "middle"), [("a", "a"), ("ab", "b"), ("abc", "b"), ("abcd", "c")])
def test_the_middle_chunk(chunks, middle):
    assert middle_chunk(chunks) == middle


def placed(songs, duplicates=(), deduplicate=False, without_chunk=()):
    """What becomes of (id, split) songs with cuts of 1 and 2 and a background of 3."""
    rows = [
        {
            "lmd_id": name,
            "split": split,
            "tokens": events_to_tokens(events([0, MAX_TIME if name in without_chunk else 1])),
        }
        for name, split in songs
    ]
    found = assign_splits(rows, 7, "drop", {"valid": 1, "test": 2}, 3, dict.fromkeys(duplicates, "tokens"), deduplicate)
    return [(song["lmd_id"], song["dropped"], song["background"]) for song in found]


def test_cuts_and_background_are_the_first_songs():
    splits = {"a": "test", "b": "valid", "c": "test", "d": "test", "e": "test", "f": "valid", "g": "train"}
    assert placed(splits.items()) == [
        ("a", None, True),
        ("b", None, False),
        ("c", None, True),
        ("d", "cut", True),
        ("e", "cut", False),
        ("f", "cut", False),
        ("g", None, False),
    ]


def test_a_song_without_a_chunk_takes_no_place():
    found = placed([("a", "valid"), ("b", "valid"), ("c", "valid")], without_chunk="a")
    assert found == [("a", "no-chunk", False), ("b", None, False), ("c", "cut", False)]


def test_duplicates_are_dropped_where_asked_and_take_no_place():
    songs = [("a", "test"), ("b", "test"), ("c", "test")]
    assert placed(songs, duplicates="a")[0] == ("a", None, True)
    assert placed(songs, duplicates="a", deduplicate=True) == [
        ("a", "duplicate-tokens", False),
        ("b", None, True),
        ("c", None, True),
    ]


def test_a_placed_song_counts_its_chunks():
    row = {"lmd_id": "a", "split": "test", "tokens": events_to_tokens(events([0, 1, 2, 3, MAX_TIME + 2]))}
    (song,) = assign_splits([row], 7, "drop", {}, 0, {"a": "bytes"}, False)
    assert (song["n_chunks"], song["n_chunks_dropped"], song["n_tokens"]) == (3, 0, 18)
    assert song["duplicate"] == "bytes"


def digests(lmd_id, split, midi, tokens):
    return {"lmd_id": lmd_id, "split": split, "midi_sha256": midi, "tokens_sha256": tokens}


def test_a_song_of_two_splits_stays_in_the_first():
    songs = [
        digests("f1", "test", "A", "1"),
        digests("e1", "valid", "B", "2"),
        digests("e2", "valid", "C", "3"),
        digests("f2", "test", "D", "2"),
        digests("f3", "test", "E", "5"),
        digests("01", "train", "A", "1"),
        digests("02", "train", "F", "3"),
        digests("03", "train", "G", "3"),
    ]
    assert find_duplicates(songs) == {"f1": "bytes", "e2": "tokens", "f2": "tokens"}


def counted(split, **columns):
    usual = {"n_chunks": 2, "n_chunks_dropped": 0, "n_tokens": 8, "n_events": 2, "end_time": 360_000}
    return {"split": split, "row": 0, **usual, "duplicate": None, "dropped": None, "background": False} | columns


def test_the_summary_counts_every_song_and_every_loss():
    songs = [
        counted("train", n_chunks_dropped=3, row=0),
        counted("valid", dropped="cut", duplicate="bytes"),
        counted("test", background=True, row=5),
        counted("test", background=True, dropped="cut"),
        counted("test", n_chunks=0, dropped="no-chunk"),
    ]
    losses = [
        {"stage": "split", "reason": "cut", "member": "a", "row": 1},
        {"stage": "split", "reason": "cut", "member": "b", "row": 2},
        {"stage": "split", "reason": "no-chunk", "member": "c", "row": 3},
        {"stage": "pair", "reason": "no-midi", "member": None, "row": 4},
        {"stage": "shard", "reason": "name", "member": "d", "row": None},
    ]
    found = summarize(songs, losses, 6, 6)
    assert (found["members"], found["rows"], found["songs"], found["songs_before_cut"]) == (6, 6, 2, 4)
    assert {name: counts["songs"] for name, counts in found["splits"].items()} == {
        "train": 1,
        "valid": 0,
        "test": 1,
        "background": 2,
    }
    assert found["splits"]["train"] == {
        "songs_before_cut": 1,
        "songs": 1,
        "chunks": 2,
        "tokens": 8,
        "events": 2,
        "hours": 1.0,
    }
    assert found["dropped"]["split"] == {"cut": 2, "no-chunk": 1}
    assert found["chunks_of_100_s"] == 3
    assert found["duplicates_across_splits"]["valid"] == {"bytes": 1, "tokens": 0}
    assert found["report"]["songs_before_cut"]["all"] == 151_526
    with pytest.raises(RuntimeError, match="7 members, but 6"):
        summarize(songs, losses, 7, 6)
    with pytest.raises(RuntimeError, match="a row of MidiCaps"):
        summarize([counted("train", row=5), *songs[1:]], losses, 6, 6)
    with pytest.raises(RuntimeError, match="a row of MidiCaps"):
        summarize(songs, losses, 6, 7)
