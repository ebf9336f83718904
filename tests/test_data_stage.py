"""The data stage as Snakemake runs it: on real files with the reference's digests, and through kills."""

import hashlib
import json
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from libretto.data.splits import chunk_song
from tests.checkout import ROOT, jobs_of, snakemake
from tests.compiled import lend_compiled
from tests.corpus import write_archive
from tests.realmidi import FOLDER, manifest

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("data")]  # so that one worker runs the stage on the real files

HEX_DIGITS = "0123456789abcdef"
SPLIT_OF = dict.fromkeys(HEX_DIGITS, "train") | {"e": "valid", "f": "test"}
SOUNDFONT = str(ROOT / "README.md")  # the data stage needs none; a path that exists


def arguments(folder, archive, captions, *targets, **data):
    """Snakemake's arguments for the shipped config on other sources; `folder` is where it runs."""
    sources = {"lmd": {"path": str(archive)}, "midicaps": {"path": str(captions)}, "soundfont": {"path": SOUNDFONT}}
    rest = {"sampling": {"n": 2, "max_new_tokens": 3}, "metrics": {"fad_sub": {"size": 2}}}  # within what data has
    rest["variants"] = {"llama-1b": {"chunk_tokens": 4096}}
    (folder / "experiment.json").write_text(json.dumps({"run": "data", "sources": sources, "data": data, **rest}))
    configs = ["--configfile", str(ROOT / "config.yaml"), "experiment.json"]
    return ["--snakefile", str(ROOT / "Snakefile"), *configs, "--cores", "2", "--", *targets]


def run(folder, archive, captions, *targets, **data):
    done = snakemake(folder, *arguments(folder, archive, captions, *targets, **data))
    assert done.returncode == 0, done.stdout[-3000:]
    return done.stdout


def read(folder, name):
    return pq.read_table(folder / f"results/data/data/{name}.parquet").to_pylist()


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """The folder where the data stage has run on the real files, with small cuts."""
    folder = tmp_path_factory.mktemp("real")
    lend_compiled(folder)
    run(
        folder,
        FOLDER / "lmd.tar.gz",
        FOLDER / "train.json",
        "results/data/data/summary.json",
        "results/data/data/splits/4096/train.parquet",
        cuts={"valid": 5, "test": 6},
        background=9,
    )
    return folder


def test_every_real_file_has_the_references_tokens_or_its_reason(real):
    songs = {song["lmd_id"]: song for digit in HEX_DIGITS for song in read(real, f"tokens/{digit}")}
    dropped = {loss["lmd_id"]: loss["reason"] for loss in read(real, "dropped") if loss["stage"] != "split"}
    for lmd_id, expected in manifest().items():
        if expected["captioned"] == "False":
            assert dropped[lmd_id] == "no-midicaps-row"
        elif expected["status"] == "ok":
            song = songs.pop(lmd_id)
            assert song["tokens_sha256"] == expected["tokens_sha256"]
            assert song["n_events"] == int(expected["n_events"])
            assert song["end_time"] == int(expected["end_time"])
            assert len(song["instruments"]) == int(expected["n_instruments"])
        else:
            assert dropped[lmd_id] == expected["status"]
    assert not songs
    assert sum(reason == "no-midi" for reason in dropped.values()) == 3


def test_every_real_file_and_caption_is_in_one_split_or_dropped(real):
    splits = {split: read(real, f"splits/{split}") for split in ("train", "valid", "test", "background")}
    assert [len(splits[split]) for split in ("valid", "test", "background")] == [5, 6, 9]
    lines = (FOLDER / "train.json").read_text().splitlines()
    rows = {Path(json.loads(line)["location"]).stem: number for number, line in enumerate(lines)}
    kept = []
    for split in ("train", "valid", "test"):
        ids = [song["lmd_id"] for song in splits[split]]
        assert ids == sorted(ids, key=rows.get), "not in MidiCaps' order"
        assert {SPLIT_OF[lmd_id[0]] for lmd_id in ids} == {split}
        kept += ids
    assert [song["lmd_id"] for song in splits["background"]][:6] == [song["lmd_id"] for song in splits["test"]]
    dropped = read(real, "dropped")
    with_member = [loss["lmd_id"] for loss in dropped if loss["member"] is not None]
    with_row = [loss["row"] for loss in dropped if loss["row"] is not None]
    assert sorted(kept + with_member) == sorted(manifest())
    assert sorted([rows[lmd_id] for lmd_id in kept] + with_row) == list(range(len(rows)))
    summary = json.loads((real / "results/data/data/summary.json").read_text())
    assert (summary["members"], summary["rows"], summary["songs"]) == (len(manifest()), len(rows), len(kept))
    assert summary["songs_before_cut"] == len(kept) + summary["dropped"]["split"]["cut"]


def test_chunks_of_real_songs_are_those_of_their_tokens(real):
    tokens = {song["lmd_id"]: song["tokens"] for song in read(real, "tokens/f")}
    for song in read(real, "splits/test"):
        expected, _ = chunk_song(tokens[song["lmd_id"]], 1_024, "drop")
        assert [chunk.tolist() for chunk in expected] == song["chunks"]


def test_splits_of_longer_chunks_hold_the_same_songs_in_fewer_pieces(real):
    """Counted from onsets alone: a chunk is 4,095 tokens of 1,365 events, and stays if it spans less than 100 s."""
    expected, order = {}, {}
    for song in (song for digit in HEX_DIGITS for song in read(real, f"tokens/{digit}")):
        onsets = song["tokens"][::3]
        pieces = [onsets[start : start + 1_365] for start in range(0, len(onsets), 1_365)]
        spans = [len(piece) for piece in pieces if piece[-1] - piece[0] < 10_000]
        if spans:
            expected.setdefault(SPLIT_OF[song["lmd_id"][0]], {})[song["lmd_id"]] = [1 + 3 * n for n in spans]
            order[song["lmd_id"]] = song["row"]
    for split, most in (("train", None), ("valid", 5), ("test", 6)):
        found = {song["lmd_id"]: [*map(len, song["chunks"])] for song in read(real, f"splits/4096/{split}")}
        first = sorted(expected[split], key=order.get)[:most]
        assert [*found] == first
        assert found == {name: expected[split][name] for name in first}
    assert max(max(lengths) for lengths in expected["train"].values()) > 1_024
    every = [loss["lmd_id"] for loss in read(real, "splits/4096/dropped") if loss["member"] is not None]
    every += [song["lmd_id"] for split in ("train", "valid", "test") for song in read(real, f"splits/4096/{split}")]
    assert sorted(every) == sorted(manifest())


def kill_script(folder, arguments, log):
    """Start Snakemake, kill the job that writes `log` once it has begun, and wait for Snakemake to give up."""
    log.unlink(missing_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "snakemake", *arguments], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    deadline = time.monotonic() + 120
    while not log.exists():
        assert process.poll() is None, process.stdout.read().decode()[-3000:]
        assert time.monotonic() < deadline
        time.sleep(0.002)
    for job in jobs_of(process, ".snakemake/scripts"):
        job.kill()
    output = process.communicate()[0].decode()
    assert process.returncode != 0, output[-3000:]


def hashes(folder):
    """SHA-256 of every table below `folder`."""
    paths = sorted(folder.glob("results/data/data/**/*.parquet"))
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def test_a_killed_job_leaves_nothing_and_only_it_runs_again(tmp_path):
    archive, captions = tmp_path / "lmd.tar.gz", tmp_path / "train.json"
    write_archive(archive, captions, 1_500, median_notes=1_000)
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    for folder in (undisturbed, killed):
        folder.mkdir()
        lend_compiled(folder)
    targets = [f"results/data/data/tokens/{digit}.parquet" for digit in "05"]
    run(undisturbed, archive, captions, *targets)
    logs = killed / "results/data/logs"

    kill_script(killed, arguments(killed, archive, captions, *targets), logs / "shard.log")
    assert not hashes(killed)
    kill_script(killed, arguments(killed, archive, captions, targets[0]), logs / "tokenize/0.log")
    assert not (killed / targets[0]).exists()

    output = run(killed, archive, captions, *targets)
    ran = [line.split()[0] for line in output.splitlines() if line[:8].strip() in ("shard", "pair", "tokenize")]
    assert set(ran) == {"tokenize"}
    assert hashes(killed) == hashes(undisturbed)
    assert not list(killed.glob("results/data/data/**/*.part"))
