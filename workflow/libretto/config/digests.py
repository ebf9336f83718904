"""What a source of the user's own contains: a time stamp may be older than the results, or newer for nothing."""

import hashlib
import json
import os
from pathlib import Path

from libretto.files import file_sha256, listing_sha256


def content_digest(path: str | Path, cache: str | Path) -> str | None:
    """SHA-256 over a file, or over the files of a folder and their names in it.

    What is no longer there is taken to be what it was, and is None if it never was there.

    Files are read again only after their size, inode, or time of change or modification is another: replacing a file
    changes one of these, whatever time stamp the new one is given.

    Args:
        path: a file or a folder.
        cache: folder of what was found before.
    """
    path = Path(path)
    place = Path(cache, hashlib.sha256(str(path.absolute()).encode()).hexdigest() + ".json")
    known = json.loads(place.read_text()) if place.exists() else {}
    if not path.exists():
        return known.get("sha256")
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    names = [str(file.relative_to(path)) for file in files]
    states = [[stat.st_size, stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns] for stat in map(os.stat, files)]
    if known.get("names") != names or known.get("states") != states:
        digests = dict(zip(names, map(file_sha256, files), strict=True))
        known = {"names": names, "states": states, "sha256": listing_sha256(digests)}
        place.parent.mkdir(parents=True, exist_ok=True)
        part = place.with_name(f"{place.name}.{os.getpid()}")
        part.write_text(json.dumps(known))
        part.replace(place)  # jobs of a cluster may find the same at once
    return known["sha256"]
