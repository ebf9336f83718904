"""Pairs: every member of the archive and every row of MidiCaps is in a pair or in the list of the dropped."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libretto.errors import InputError
from libretto.pairs import pair, read_midicaps, split_of_digit

SPLIT_OF = split_of_digit({"train": "0123456789abcd", "valid": "e", "test": "f"})
IDS = [f"{digit}{digit * 31}" for digit in "0123456789abcdef"]


def row(lmd_id, caption="A song.", **features):
    return {"location": f"lmd_full/{lmd_id[0]}/{lmd_id}.mid", "caption": caption, **features}


def member(lmd_id, reason=None):
    return {"lmd_id": lmd_id, "member": f"lmd_full/{lmd_id and lmd_id[0]}/{lmd_id}.mid", "reason": reason}


def join(rows, members, split_of=SPLIT_OF):
    dropped = []
    pairs = list(pair(rows, members, split_of, dropped.append))
    return pairs, dropped


def test_pairs_keep_midicaps_order_and_features():
    rows = [row(IDS[15], " A waltz. ", tempo=90.0, genre=["pop", 3], key=7), row(IDS[2])]
    pairs, dropped = join(rows, [member(IDS[2]), member(IDS[15])])
    assert not dropped
    assert [(song["lmd_id"], song["split"], song["row"]) for song in pairs] == [
        (IDS[15], "test", 0),
        (IDS[2], "train", 1),
    ]
    first = pairs[0]
    assert (first["caption"], first["tempo"], first["genre"], first["key"]) == ("A waltz.", 90, ["pop"], None)


@pytest.mark.parametrize(
    ("rows", "members", "expected"),
    [
        ([row(IDS[1])], [], ("pair", "no-midi", IDS[1], None, 0)),
        ([{"location": "elsewhere.mid", "caption": "A song."}], [], ("pair", "no-midi", None, None, 0)),
        ([], [member(IDS[1])], ("pair", "no-midicaps-row", IDS[1], member(IDS[1])["member"], None)),
        ([row(IDS[1], " ")], [member(IDS[1])], ("pair", "no-caption", IDS[1], member(IDS[1])["member"], 0)),
        ([row(IDS[1], None)], [member(IDS[1])], ("pair", "no-caption", IDS[1], member(IDS[1])["member"], 0)),
        ([row(IDS[1])], [member(IDS[1], "size")], ("shard", "size", IDS[1], member(IDS[1])["member"], 0)),
        ([], [member(None, "name")], ("shard", "name", None, member(None)["member"], None)),
    ],
)
def test_what_is_in_no_pair_is_listed_once_with_its_reason(rows, members, expected):
    pairs, dropped = join(rows, members)
    assert not pairs
    assert [tuple(loss[name] for name in ("stage", "reason", "lmd_id", "member", "row")) for loss in dropped] == [
        expected
    ]


def test_a_second_caption_of_a_song_is_dropped():
    pairs, dropped = join([row(IDS[1]), row(IDS[1])], [member(IDS[1])])
    assert len(pairs) == 1
    assert [(loss["reason"], loss["member"], loss["row"]) for loss in dropped] == [("duplicate", None, 1)]


def test_what_is_no_text_in_a_caption_is_replaced():
    broken = json.loads(r'{"caption": "a \ud83d b", "genre": ["\ud83d"]}')
    (song,), _ = join([row(IDS[0]) | broken], [member(IDS[0])])
    assert (song["caption"], song["genre"]) == ("a ? b", ["?"])


def test_a_digit_of_no_split_is_dropped():
    assert join([row(IDS[9])], [member(IDS[9])], {"0": "train"})[1][0]["reason"] == "no-split"


lmd_ids = st.sampled_from(IDS[:5])
reasons = st.sampled_from(["size", "no-file", "unsafe-name", "name"])


@st.composite
def archives(draw):
    """Members as the archive's reader lists them: an id's second song is a duplicate."""
    members, seen = [], set()
    for lmd_id, reason in draw(st.lists(st.tuples(lmd_ids | st.none(), st.none() | reasons), max_size=12)):
        reason = reason or ("name" if lmd_id is None else "duplicate" if lmd_id in seen else None)
        if reason is None:
            seen.add(lmd_id)
        members.append(member(lmd_id, reason))
    return members


@given(st.lists(st.builds(row, lmd_ids, st.sampled_from(["A song.", "", None])), max_size=12), archives())
def test_counts_add_up(rows, members):
    pairs, dropped = join(rows, members)
    assert len(members) == len(pairs) + sum(loss["member"] is not None for loss in dropped)
    assert sorted([*(song["row"] for song in pairs), *(d["row"] for d in dropped if d["row"] is not None)]) == list(
        range(len(rows))
    )
    assert len({song["lmd_id"] for song in pairs}) == len(pairs)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"location": "a.mid"', "line 1: not JSON"),
        ('{"location": "a.mid", "caption": "A"}\n\n', "line 2: not JSON"),
        ('{"location": "a.mid"}', "line 1: not a MidiCaps row"),
        ('["a.mid"]', "line 1: not a MidiCaps row"),
        ('{"tempo": 1' + "0" * 5_000 + "}", "line 1: not to be read"),
        ("[" * 100_000, "line 1: not to be read"),
    ],
)
def test_a_file_that_is_not_midicaps_is_an_input_error(tmp_path, content, message):
    path = tmp_path / "train.json"
    path.write_text(content)
    with pytest.raises(InputError, match=message):
        list(read_midicaps(path))


def test_midicaps_is_read_line_by_line(tmp_path):
    path = tmp_path / "train.json"
    path.write_text("".join(json.dumps(row(lmd_id)) + "\n" for lmd_id in IDS))
    assert [found["location"][-36:-4] for found in read_midicaps(path)] == IDS


def test_a_digit_in_two_splits_is_an_input_error():
    with pytest.raises(InputError, match="'e' is in 'train' and in 'valid'"):
        split_of_digit({"train": "cde", "valid": "e", "test": "f"})
