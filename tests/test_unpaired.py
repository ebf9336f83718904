"""Music without text: the songs that a first training may read, on real files with the reference's findings."""

import runpy
from types import SimpleNamespace

import numpy as np
import pytest

from libretto.errors import InputError
from libretto.tables import CHUNKS, DROPPED, MIDI, TOKENS, dropped_row, read_rows, write_table
from tests.checkout import ROOT
from tests.realmidi import manifest, midi_files

CAPTIONED, HELD_OUT, REFUSED, EMPTY = ("0" * 32, "1" * 32, "2" * 32, "4" * 32)


@pytest.fixture
def unpaired(tmp_path, monkeypatch):
    """A function that runs the script on songs by id, with one song held out, and gives its tables."""
    monkeypatch.setattr("libretto.job.start_job", lambda job: None)

    def run(songs, held_out):
        names = ("midi", "unpaired", "tokens", "valid", "train_out", "valid_out", "dropped")
        paths = {name: str(tmp_path / f"{name}.parquet") for name in names}
        write_table(
            paths["midi"], MIDI, [{"lmd_id": name, "member": name, "midi": midi} for name, midi in songs.items()]
        )
        losses = [dropped_row("pair", "no-midicaps-row", name, name) for name in songs if name != CAPTIONED]
        losses += [
            dropped_row("pair", "no-midicaps-row", "e" * 32, "an id of another split", 0),
            dropped_row("pair", "no-caption", EMPTY, EMPTY, 2),
            dropped_row("pair", "no-midi", "3" * 32, None, 1),
            dropped_row("shard", "size", REFUSED, "refused"),
        ]
        write_table(paths["unpaired"], DROPPED, losses)
        columns = {"row": 0, "end_time": 0, "instruments": [], "midi_sha256": "", "tokens": np.zeros(0, np.int32)}
        row = {"lmd_id": "f" * 32, "split": "test", "caption": "A waltz.", "n_events": 0, "tokens_sha256": held_out}
        train = {"split": "train", "tokens_sha256": manifest().get(next(iter(songs)), {}).get("tokens_sha256", "")}
        write_table(paths["tokens"], TOKENS, [columns | row, columns | row | train])
        chunk = np.array([55026, 0, 10010, 11060], np.uint16)
        write_table(paths["valid"], CHUNKS, [{"lmd_id": "e" * 32, "caption": "A march.", "chunks": [chunk]}])
        snakemake = SimpleNamespace(
            input=SimpleNamespace(
                **{name: paths[name] for name in ("unpaired", "valid")},
                **{name: [paths[name]] for name in ("midi", "tokens")},
            ),
            output=SimpleNamespace(train=paths["train_out"], valid=paths["valid_out"], dropped=paths["dropped"]),
            params=SimpleNamespace(chunk_tokens=190, long_chunks="drop"),
        )
        runpy.run_path(str(ROOT / "workflow/scripts/unpaired.py"), {"snakemake": snakemake})
        return {name: [*read_rows(paths[name])] for name in ("train_out", "valid_out", "dropped")}

    return run


def test_songs_without_a_caption_are_training_songs_but_for_those_held_out(unpaired):
    files, known = midi_files(), manifest()
    usable = [name for name in files if known[name]["status"] == "ok"][:3]
    broken = [name for name in files if known[name]["status"] != "ok"][:2]
    songs = {name: files[name] for name in (*usable, *broken)} | {
        CAPTIONED: files[usable[2]],
        HELD_OUT: files[usable[1]],
    }
    found = unpaired(songs, known[usable[1]]["tokens_sha256"])
    assert [row["lmd_id"] for row in found["train_out"]] == [usable[0], usable[2]]
    assert all(row["caption"] is None for row in found["train_out"] + found["valid_out"])
    for row in found["train_out"]:  # 63 events in a chunk of 190 tokens; those that span 100 s are dropped
        n = [len(chunk) // 3 for chunk in row["chunks"]]
        assert set(n[:-1]) <= {63}
        assert sum(n) <= int(known[row["lmd_id"]]["n_events"])
    reasons = {row["lmd_id"]: row["reason"] for row in found["dropped"]}
    expected = {usable[1]: "held-out", HELD_OUT: "held-out", "e" * 32: "not-train"}
    assert reasons == expected | {name: known[name]["status"] for name in broken}
    (song,) = found["valid_out"]
    assert (song["lmd_id"], [*song["chunks"][0]]) == ("e" * 32, [55026, 0, 10010, 11060])


def test_an_archive_without_such_songs_is_refused(unpaired):
    with pytest.raises(InputError, match="no usable song without a caption"):
        unpaired({CAPTIONED: next(iter(midi_files().values()))}, "")
