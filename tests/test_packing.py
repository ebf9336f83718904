"""A corpus of one's own: the same archive and captions from any form of it, and what is refused in one line."""

import csv
import json
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from libretto.config.sources import check_sources, own_paths, read_path
from libretto.data.archive import read_archive
from libretto.data.descriptions import read_descriptions
from libretto.data.packing import pack_corpus
from libretto.data.pairs import pair, read_midicaps
from libretto.errors import InputError
from libretto.tables import FEATURES
from tests.realmidi import FOLDER

SPLIT_OF = dict.fromkeys("0123456789abcd", "train") | {"e": "valid", "f": "test"}
# With their MD5, by the command md5sum.
SONGS = {
    "a.mid": (b"one", "f97c5d29941bfb1b2fdab0874906ab82"),
    "band/b c.MIDI": (b"two", "b8a9f715dbb64fd5c56e7783c6820a61"),
    "band/d.kar": (b"three", "35d6d33467aae9a2e3dccb4b6b027878"),
    "spare.mid": (b"four", "8cbad96aced40b3838dd9f07f6ef5772"),
    "copy.mid": (b"one", "f97c5d29941bfb1b2fdab0874906ab82"),
}
ROWS = [
    {"file": "./band/b c.MIDI", "caption": "Two, by a duo.", "split": "test", "tempo": 120,
     "instrument_summary": ["Acoustic Grand Piano", "Drums"], "key": "F# minor"},
    {"file": "a.mid", "caption": "One.", "split": "valid", "tempo": None, "instrument_summary": None, "key": None},
    {"file": "gone.mid", "caption": "Gone.", "split": "train", "tempo": 90, "instrument_summary": [], "key": None},
    {"file": "band/d.kar", "caption": "Three.", "split": "train", "tempo": 90, "instrument_summary": ["Flute"],
     "key": "C major"},
    {"file": "copy.mid", "caption": "One again.", "split": "train", "tempo": 90, "instrument_summary": ["Flute"],
     "key": "C major"},
]  # fmt: skip


def write_folder(folder: Path) -> Path:
    for name, (content, _) in SONGS.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    (folder / "notes.txt").write_text("not a song")
    return folder


def write_tar(folder: Path, path: Path, mode: str) -> Path:
    with tarfile.open(path, mode) as tar:
        for name in (*SONGS, "notes.txt"):
            tar.add(folder / name, f"./{name}")
    return path


def write_csv(path: Path, rows: list[dict], encoding="utf-8") -> Path:
    with open(path, "w", encoding=encoding, newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        for row in rows:
            writer.writerow({key: ", ".join(value) if isinstance(value, list) else value for key, value in row.items()})
    return path


def packed(tmp_path, midi, table):
    pack_corpus(midi, table, tmp_path / "corpus.tar.gz", tmp_path / "corpus.json")
    return list(read_archive(tmp_path / "corpus.tar.gz")), list(read_midicaps(tmp_path / "corpus.json"))


def join(members, captions):
    drops = []
    listed = [{"lmd_id": member.lmd_id, "member": member.name, "reason": member.reason} for member in members]
    return list(pair(captions, listed, SPLIT_OF, drops.append)), drops


@pytest.mark.parametrize("split", [True, False])
def test_every_file_and_row_is_in_a_pair_or_dropped(tmp_path, split):
    rows = [{key: value for key, value in row.items() if split or key != "split"} for row in ROWS]
    midi, table = write_folder(tmp_path / "music"), write_csv(tmp_path / "captions.csv", rows, "utf-8-sig")
    pairs, drops = join(*packed(tmp_path, midi, table))
    two, one, three = (SONGS[name][1] for name in ("band/b c.MIDI", "a.mid", "band/d.kar"))
    splits = ["test", "valid", "train"] if split else ["train", "test", "train"]  # by the first digit: b, f, 3
    assert [(song["lmd_id"], song["split"], song["row"]) for song in pairs] == [
        *((lmd_id, name, row) for lmd_id, name, row in zip((two, one, three), splits, (0, 1, 3), strict=True))
    ]
    assert [pairs[0][name] for name in ("caption", "tempo", "instrument_summary", "key", "genre")] == [
        "Two, by a duo.", 120, ["Acoustic Grand Piano", "Drums"], "F# minor", None
    ]  # fmt: skip
    assert [pairs[1][name] for name in ("tempo", "instrument_summary", "key")] == [None, None, None]
    assert {(drop["reason"], drop["row"], drop["member"] and Path(drop["member"]).parent.name) for drop in drops} == {
        ("duplicate", None, "copy.mid"),
        ("no-midi", 2, None),
        ("duplicate", 4, None),
        ("no-midicaps-row", None, "spare.mid"),
    }
    assert len(drops) == 4


def test_real_songs_are_paired_as_if_packed_by_hand(tmp_path):
    music, by_hand = tmp_path / "music", list(read_archive(FOLDER / "lmd.tar.gz"))
    names = {song.lmd_id: f"{'ab'[number % 2]}/tune {number}.mid" for number, song in enumerate(by_hand)}
    for song in by_hand:
        (music / names[song.lmd_id]).parent.mkdir(parents=True, exist_ok=True)
        (music / names[song.lmd_id]).write_bytes(song.midi)
    rows = list(map(json.loads, (FOLDER / "train.json").read_text().splitlines()))
    files = [names.get(Path(row["location"]).stem, "missing.mid") for row in rows]
    own = [
        {"file": file} | {name: row[name] for name in ("caption", *FEATURES)}
        for file, row in zip(files, rows, strict=True)
    ]
    members, captions = packed(tmp_path, music, write_csv(tmp_path / "captions.csv", own))
    assert {song.lmd_id: song.midi for song in members} == {song.lmd_id: song.midi for song in by_hand}
    (expected, _), (found, _) = join(by_hand, rows), join(members, captions)
    assert len(found) > 60
    assert found == [song | {"member": f"{names[song['lmd_id']]}/{song['lmd_id']}.mid"} for song in expected]


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz"])
def test_a_tar_and_parquet_are_read_as_a_folder_and_csv(tmp_path, mode):
    midi, table = write_folder(tmp_path / "music"), write_csv(tmp_path / "captions.csv", ROWS)
    members, captions = packed(tmp_path, midi, table)
    assert packed(tmp_path, midi, table) == (members, captions)
    first = (tmp_path / "corpus.tar.gz").read_bytes()
    tar = write_tar(midi, tmp_path / "music.tar", mode)
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "captions.parquet")
    in_tar, from_parquet = packed(tmp_path, tar, tmp_path / "captions.parquet")
    assert {(song.name, song.midi) for song in in_tar} == {(song.name, song.midi) for song in members}
    assert [row | {"instrument_summary": row["instrument_summary"] or None} for row in from_parquet] == captions
    packed(tmp_path, midi, table)
    assert (tmp_path / "corpus.tar.gz").read_bytes() == first


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"no column 'file'"),
        ("file;caption\na.mid;One.\n", r"has no column 'file', but: file;caption; rename it"),
        ("file,text\na.mid,One.\n", r"has no column 'caption', but: file, text"),
        ("file,caption\n", r"captions\.csv has no rows"),
        ("file,caption\na.mid,One, by a duo.\n", r"row 0: more values than columns; put quotes around captions"),
        ("file,caption\na.mid,One.\n,Two.\n", r"row 1: it names no file"),
        ("file,caption,split\na.mid,One.,dev\n", r"row 0: the split 'dev' is unknown; write train, valid or test"),
        ("file,caption,split\na.mid,One.\n", r"row 0: the split None is unknown"),
        ("file,caption,tempo\na.mid,One.,fast\n", r"row 0: tempo is 'fast', not a number"),
        ('file,caption\n"a.mid,One.\n', r"is not CSV in UTF-8"),
        (b"file,caption\na.mid,caf\xe9\n", r"is not CSV in UTF-8"),
    ],
)
def test_what_is_wrong_with_a_csv_is_said_in_one_line(tmp_path, text, message):
    table = tmp_path / "captions.csv"
    table.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=message) as error:
        packed(tmp_path, write_folder(tmp_path / "music"), table)
    assert "\n" not in str(error.value)


def test_what_is_wrong_with_a_parquet_table_is_said_in_one_line(tmp_path):
    music = write_folder(tmp_path / "music")
    table = tmp_path / "captions.parquet"
    table.write_text("file,caption\n")
    with pytest.raises(InputError, match=r"captions\.parquet is not a Parquet table"):
        read_descriptions(table, ("file", "caption"))
    for name, value, message in [
        ("file", 3, "row 0: it names no file"),
        ("instrument_summary", [0, 128], r"row 0: instrument_summary is .*, not names"),
        ("key", 3, "row 0: key is 3, not text"),
        ("tempo", ["a"], r"row 0: tempo is \['a'\], not a number"),
    ]:
        pq.write_table(pa.Table.from_pylist([{"file": "a.mid", "caption": "One.", name: value}]), table)
        with pytest.raises(InputError, match=message):
            packed(tmp_path, music, table)


def test_files_that_no_row_names_are_refused(tmp_path):
    midi, table = write_folder(tmp_path / "music"), write_csv(tmp_path / "captions.csv", [ROWS[2]])
    with pytest.raises(InputError, match=r"music has no file that .*captions\.csv names, such as gone\.mid: name them"):
        packed(tmp_path, midi, table)
    (tmp_path / "music.tar").write_bytes(b"no tar")
    with pytest.raises(InputError, match=r"music\.tar is no tar, or is damaged"):
        packed(tmp_path, tmp_path / "music.tar", table)
    archive = write_tar(midi, tmp_path / "music.tgz", "w:gz")
    archive.write_bytes(archive.read_bytes()[: archive.stat().st_size // 2])
    with pytest.raises(InputError, match=r"music\.tgz is no tar, or is damaged"):
        packed(tmp_path, archive, table)


def test_a_table_of_descriptions_is_packed_and_a_folder_needs_one(tmp_path):
    music, table = str(write_folder(tmp_path / "music")), str(write_csv(tmp_path / "captions.csv", ROWS))
    sources = {"lmd": {"path": music}, "midicaps": {"path": table}, "soundfont": {"path": table}, "models": {}}
    config = {"sources": sources}
    assert read_path(config, "lmd", "<run>/sources") == "<run>/sources/corpus.tar.gz"
    assert read_path(config, "midicaps", "<run>/sources") == "<run>/sources/corpus.json"
    assert read_path(config, "soundfont", "<run>/sources") == table
    assert own_paths(config) == {music, table}
    check_sources(config, "sources", [music, table])
    config["sources"]["midicaps"] = {"path": str(tmp_path / "music" / "notes.txt")}
    assert read_path(config, "lmd", "<run>/sources") == music
    with pytest.raises(
        InputError, match=r"music is a folder; name the file itself; .* sources\.midicaps\.path: <a \.csv"
    ):
        check_sources(config, "sources", [music])
    config["sources"]["midicaps"] = {"path": music}
    with pytest.raises(InputError, match=r"midicaps\.path: \S+music is a folder; name the file itself$"):
        check_sources({"sources": sources | {"lmd": {"path": table}}}, "sources", [music])
