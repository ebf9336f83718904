"""Pairs: every member of the archive and every row of MidiCaps is in a pair or in the list of dropped ones."""

import json
import tracemalloc

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from libretto.data.descriptions import read_descriptions
from libretto.data.pairs import describe_prompts, pair, read_midicaps
from libretto.errors import InputError
from libretto.tables import PAIRS, read_rows, write_table
from tests.bench import fuzz_input
from tests.realmidi import FOLDER

SPLIT_OF = dict.fromkeys("0123456789abcd", "train") | {"e": "valid", "f": "test"}
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


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("A \0song.", "A song."),
        ("\0", None),
        ("\x1b[31mA song.\x07", "[31mA song."),
        ("A\x0bsong\x0cof\x85mine.", "A song of mine."),
        ("A song\x7f\x80\x9f.", "A song."),
    ],
)
def test_control_characters_are_removed(caption, expected):
    pairs, _ = join([row(IDS[0], caption, key=caption, genre=[caption])], [member(IDS[0])])
    assert [song["caption"] for song in pairs] == ([expected] if expected else [])
    if expected:
        assert (pairs[0]["key"].strip(), pairs[0]["genre"][0].strip()) == (expected, expected)


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1))
@example("A waltz.\n\nIn 3/4,\tslow.\r\nThe end.")
@example("“Café” – cafe\u0301 – 日本の歌 – שיר\u200f! – \u202btext\u202c – 👩\u200d🎤🎵\ufe0f – soft\u00adhyphen")
def test_other_captions_stay_as_they_are(caption):
    song = json.loads(json.dumps(row(IDS[0], caption, key=caption, mood=[caption])))
    pairs, _ = join([song], [member(IDS[0])])
    assert [found["caption"].encode() for found in pairs] == ([caption.strip().encode()] if caption.strip() else [])
    assert all((found["key"], found["mood"]) == (caption, [caption]) for found in pairs)


def test_captions_of_real_files_stay_as_they_are():
    rows = [json.loads(line) for line in (FOLDER / "train.json").read_bytes().splitlines()]
    ids = [song["location"][-36:-4] for song in rows]
    pairs, _ = join(read_midicaps(FOLDER / "train.json"), map(member, ids))
    assert [found["caption"] for found in pairs] == [song["caption"] for song in rows]


def test_fuzzed_captions_are_paired_or_refused(tmp_path):
    kinds, _ = fuzz_input.fuzz_captions(300, 1, tmp_path)
    assert set(kinds) <= fuzz_input.FINE
    assert kinds["pair"] > kinds["files"]


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
        ('[{"location": "a.mid", "caption": "A"}]', "line 1: not a MidiCaps row"),
        ('{"location": 7, "caption": "A"}', "line 1: not a MidiCaps row"),
        ('{"tempo": 1' + "0" * 5_000 + "}", "line 1: cannot be read"),
        ("[" * 100_000, "line 1: cannot be read"),
    ],
)
def test_a_file_that_is_not_midicaps_is_an_input_error(tmp_path, content, message):
    path = tmp_path / "train.json"
    path.write_text(content)
    with pytest.raises(InputError, match=message) as error:
        list(read_midicaps(path))
    assert str(error.value).count(str(path)) == 1


def test_a_line_of_any_length_takes_little_memory(tmp_path):
    path = tmp_path / "train.json"
    path.write_text(json.dumps(row(IDS[0])) + '\n{"caption": "' + "A song. " * 8_000_000)
    rows = read_midicaps(path)
    assert next(rows) == row(IDS[0])
    tracemalloc.start()
    with pytest.raises(InputError, match="line 2: over 4,000,000 characters"):
        next(rows)
    assert tracemalloc.get_traced_memory()[1] < 16e6
    tracemalloc.stop()


def test_midicaps_is_read_line_by_line(tmp_path):
    path = tmp_path / "train.json"
    path.write_text("".join(json.dumps(row(lmd_id)) + "\n" for lmd_id in IDS))
    assert [found["location"][-36:-4] for found in read_midicaps(path)] == IDS


def test_descriptions_in_place_of_the_test_sets_are_pairs_without_a_song(tmp_path):
    table = tmp_path / "prompts.csv"
    table.write_text(
        'caption,key,instrument_summary,mine\n" A waltz, for harp. ",A minor,"Harp, Drums",1\nNoise.,,,2\n'
    )
    write_table(
        tmp_path / "prompts.parquet", PAIRS, list(describe_prompts(read_descriptions(table, ["caption"]), table))
    )
    waltz, noise = read_rows(tmp_path / "prompts.parquet")
    nothing = dict.fromkeys(PAIRS.names) | {"split": "test"}
    assert waltz == nothing | {
        "lmd_id": "prompt-0000", "caption": "A waltz, for harp.", "row": 0, "key": "A minor",
        "instrument_summary": ["Harp", "Drums"],
    }  # fmt: skip
    assert noise == nothing | {"lmd_id": "prompt-0001", "caption": "Noise.", "row": 1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("caption,key\nA waltz.,\n ,A minor\n", r"prompts\.csv, row 1: it has no caption; write one"),
        ("prompt\nA waltz.\n", r"prompts\.csv has no column 'caption', but: prompt"),
    ],
)
def test_descriptions_without_a_caption_are_refused(tmp_path, text, message):
    table = tmp_path / "prompts.csv"
    table.write_text(text)
    with pytest.raises(InputError, match=message):
        list(describe_prompts(read_descriptions(table, ["caption"]), table))
