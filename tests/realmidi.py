"""The real MIDI files with the reference's digests, where this machine has them."""

import csv
import tarfile
from pathlib import Path

import pytest


def find_folder() -> Path | None:
    """`shared/realmidi` beside one of the folders above this one."""
    for parent in Path(__file__).resolve().parents:
        if (folder := parent / "shared" / "realmidi").is_dir():
            return folder
    return None


FOLDER = find_folder()
needs_realmidi = pytest.mark.skipif(FOLDER is None, reason="no folder shared/realmidi above the checkout")


def manifest() -> dict[str, dict]:
    """The reference's findings by LMD id."""
    with open(FOLDER / "manifest.csv") as lines:
        return {row["lmd_id"]: row for row in csv.DictReader(lines)}


def midi_files() -> dict[str, bytes]:
    """The archive's files by LMD id."""
    with tarfile.open(FOLDER / "lmd.tar.gz") as archive:
        return {Path(member.name).stem: archive.extractfile(member).read() for member in archive}
