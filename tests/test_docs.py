"""The documentation: the walk-throughs of docs/extending.md run as written, and links lead somewhere."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import mido
import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from libretto.config.systems import systems
from tests.checkout import ROOT, copy_checkout, dry_run, job_counts
from tests.compiled import lend_compiled
from tests.realmidi import FOLDER, manifest, midi_files

BLOCK = re.compile(r"(?:^`(?P<file>[^`\n]+)`:\n\n)?^```(?P<kind>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


def follow(title: str, checkout: Path) -> list[str]:
    """Do what a section of docs/extending.md says: write its files, apply its diffs, run its commands.

    Returns:
        What each block of commands printed.
    """
    page = (ROOT / "docs" / "extending.md").read_text()
    section = re.search(rf"^## {title}$.*?(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)[0]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # every job would compile the library again
    printed = []
    for block in BLOCK.finditer(section):
        if block["file"]:
            assert not (checkout / block["file"]).exists()
            (checkout / block["file"]).write_text(block["text"])
            continue
        command = {"sh": ["bash", "-e"], "diff": ["git", "apply"]}[block["kind"]]
        run = subprocess.run(
            command, input=block["text"], cwd=checkout, env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert run.returncode == 0, run.stdout[-3000:]
        if block["kind"] == "sh":
            printed.append(run.stdout)
    return printed


@pytest.mark.slow
@pytest.mark.xdist_group("plan")
def test_a_variant_as_written(shipped_plan, tmp_path):
    checkout = copy_checkout(tmp_path)
    (printed,) = follow("A variant", checkout)
    per_temperature = ("generate", "copied", "render", "embed_fad", "embed_clap", "score")
    assert job_counts(printed) - shipped_plan == {
        "train": 1, "validate": 1, **dict.fromkeys(per_temperature, 2), "total": 14,
    }  # fmt: skip

    config = yaml.safe_load((checkout / "config.yaml").read_text())
    config["variants"] |= yaml.safe_load((checkout / "mine.yaml").read_text())["variants"]
    rows = [(row.name, row.group) for row in systems(config).values()]
    position = [name for name, _ in rows].index("amt-weighted-t1.0")
    group = "AMT-Large + text cond"
    assert rows[position + 1 : position + 3] == [("amt-3b-t1.0", group), ("amt-3b-t1.1", group)]


def span(path: Path) -> int | None:
    """Semitones between the lowest and the highest note that is not on the drums' channel, as mido reads the file."""
    pitches = [m.note for m in mido.MidiFile(path) if m.type == "note_on" and m.velocity and m.channel != 9]
    return max(pitches) - min(pitches) if pitches else None


@pytest.mark.slow
@pytest.mark.xdist_group("demo")
def test_a_score_as_written(demo, tmp_path):
    checkout = shutil.copytree(demo, tmp_path / "checkout", symlinks=True)
    follow("A score", checkout)
    results = checkout / "results" / "demo"
    scores = json.loads((results / "metrics" / "ground-truth.json").read_text())
    files = sorted((results / "samples" / "ground-truth" / "midi").glob("*.mid"))
    spans = [found for path in files if (found := span(path)) is not None]
    assert len(spans) > 10
    assert scores["pitch_span"] == pytest.approx(np.mean(spans))
    assert scores["pitch_span_sem"] == pytest.approx(np.std(spans, ddof=1) / len(spans) ** 0.5)

    heading = subprocess.run(
        [sys.executable, "-c", "from libretto.report.presentation import scores; print(scores('vggish')[-1].title)"],
        cwd=checkout / "workflow", check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    assert heading == "Pitch span\n"


@pytest.mark.slow
def test_a_corpus_of_ones_own_as_written(tmp_path):
    checkout = copy_checkout(tmp_path)
    lend_compiled(checkout, checkout)
    lines = (FOLDER / "train.json").read_text().splitlines()
    captions = {Path(row["location"]).stem: row["caption"] for row in map(json.loads, lines)}
    expected = {lmd_id: row["status"] for lmd_id, row in manifest().items() if lmd_id in captions}
    unusable = [lmd_id for lmd_id, status in expected.items() if status != "ok"][:4]
    ids = [*[lmd_id for lmd_id in expected if expected[lmd_id] == "ok"][::2], *unusable]
    files = midi_files()
    (checkout / "music" / "band").mkdir(parents=True)
    with open(checkout / "music" / "captions.csv", "w", newline="") as table:
        rows = csv.writer(table)
        rows.writerow(["file", "caption"])
        for number, lmd_id in enumerate(ids):
            name = f"band/tune {number}.mid" if number % 2 else f"{number}.midi"
            (checkout / "music" / name).write_bytes(files[lmd_id])
            rows.writerow([name, captions[lmd_id]])

    *_, plan = follow("A corpus of your own", checkout)
    data = checkout / "results" / "mine" / "data"
    found = {}
    for split, digits in {"train": "01234567", "valid": "89ab", "test": "cdef"}.items():
        songs = pq.read_table(data / "splits" / f"{split}.parquet").to_pylist()
        assert {song["lmd_id"][0] for song in songs} <= set(digits)
        found |= {song["lmd_id"]: song["caption"] for song in songs}
    assert found == {lmd_id: captions[lmd_id] for lmd_id in ids if expected[lmd_id] == "ok"}
    losses = pq.read_table(data / "dropped.parquet").to_pylist()
    assert {row["lmd_id"]: row["reason"] for row in losses} == {lmd_id: expected[lmd_id] for lmd_id in unusable}
    assert all((checkout / "music" / Path(row["member"]).parent).is_file() for row in losses)
    digests = [song for path in (data / "tokens").glob("?.parquet") for song in pq.read_table(path).to_pylist()]
    assert {song["lmd_id"]: song["tokens_sha256"] for song in digests} == {
        lmd_id: manifest()[lmd_id]["tokens_sha256"] for lmd_id in found
    }
    assert job_counts(plan)["train"] == 5
    assert not job_counts(plan).keys() & {"download_lmd", "download_midicaps", "pack_corpus", "shard", "tokenize"}

    song = checkout / "music" / "0.midi"
    summary = ("--configfile", "corpus.yaml", "--", "results/mine/data/summary.json")
    os.utime(song)
    assert "Nothing to be done" in dry_run(checkout, *summary)
    song.write_bytes(b"another song")
    assert job_counts(dry_run(checkout, *summary))["pack_corpus"] == 1


PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md")), FOLDER / "README.md"]


def anchors(page: Path) -> set[str]:
    """The fragments of a page's headings, as GitHub derives them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_within_the_repository_lead_somewhere(page):
    shown = re.sub(r"<!--.*?-->", "", page.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", shown):
        if target.startswith(("http://", "https://")):
            continue
        path, _, fragment = target.partition("#")
        goal = page.parent / path if path else page
        assert goal.exists(), target
        assert not fragment or fragment in anchors(goal), target
