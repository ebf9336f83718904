"""Real MIDI files, their captions, and the reference's findings; README.md names origins and licences."""

import csv
import json
import tarfile
from pathlib import Path

FOLDER = Path(__file__).parent


def manifest() -> dict[str, dict]:
    """The reference's findings by LMD id."""
    with open(FOLDER / "manifest.csv") as lines:
        return {row["lmd_id"]: row for row in csv.DictReader(lines)}


def captions() -> dict[str, dict]:
    """The rows of train.json by LMD id."""
    rows = map(json.loads, (FOLDER / "train.json").read_text().splitlines())
    return {Path(row["location"]).stem: row for row in rows}


def midi_files() -> dict[str, bytes]:
    """The archive's files by LMD id."""
    with tarfile.open(FOLDER / "lmd.tar.gz") as archive:
        return {Path(member.name).stem: archive.extractfile(member).read() for member in archive}
