"""What a source of the user's own contains: a time stamp may be older than the results, or newer for nothing."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

from libretto.files import file_sha256, files_in, folder_sha256
from libretto.shared_files import write_shared

DIGESTS = ".snakemake/digests"  # what was found before


def content_digest(
    path: str | Path, cache: str | Path, announce: Callable[[str], None] = lambda text: None
) -> str | None:
    """The SHA-256 of a file, or of a folder (`folder_sha256`).

    What is no longer there is taken to be what it was, and is None if it never was there.

    Files are read again only after their size, inode, or time of change or modification is another: replacing a file
    changes one of these, whatever time stamp the new one is given.

    Args:
        path: a file or a folder.
        cache: folder of what was found before.
        announce: told before files are read, which takes some seconds for a large model.
    """
    path = Path(path)
    place = Path(cache, hashlib.sha256(str(path.absolute()).encode()).hexdigest() + ".json")
    known = json.loads(place.read_text()) if place.exists() else {}
    if not path.exists():
        return known.get("sha256")
    files = files_in(path) if path.is_dir() else {".": path}
    states = {name: _state(file) for name, file in files.items()}
    if known.get("states") != states:
        announce(f"Reading {path} to know what is in it")
        known = {"states": states, "sha256": folder_sha256(path) if path.is_dir() else file_sha256(path)}
        write_shared(place, json.dumps(known))
    return known["sha256"]


def _state(file: Path) -> list[int]:
    state = file.stat()
    return [state.st_size, state.st_ino, state.st_mtime_ns, state.st_ctime_ns]
