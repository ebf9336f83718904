"""A corpus of the user's own: MIDI files and a table of descriptions, packed in the formats of LMD and MidiCaps."""

import gzip
import hashlib
import io
import json
import logging
import lzma
import os
import tarfile
import zlib
from collections.abc import Container, Iterator
from pathlib import Path, PurePosixPath

from libretto.data.descriptions import read_descriptions
from libretto.data.splits import SPLITS
from libretto.errors import InputError
from libretto.files import files_in

logger = logging.getLogger("libretto")

MIDI_SUFFIXES = (".mid", ".midi")


def pack_corpus(midi: str | Path, table: str | Path, archive: str | Path, captions: str | Path) -> None:
    """Pack songs and their descriptions.

    A song is named by its MD5, as LMD's are. Its member in the archive is `<file>/<md5>.mid`, so that lists of what
    was dropped name the user's file. The same files give the same bytes.

    Args:
        midi: a folder, or a tar of any compression.
        table: a .csv or .parquet file as `read_descriptions` reads it, with `file`, a path within the folder or tar,
            `caption`, and optionally `split`.
        archive: the tar.gz to write.
        captions: the JSON lines to write, in the table's order.

    Raises:
        InputError: the tar or the table cannot be read, a row is wrong, or no description has its file.
    """
    described = read_descriptions(table, ("file", "caption"))
    rows = [_checked(row, f"{table}, row {number}") for number, row in enumerate(described)]
    members: dict[str, str] = {}
    with (
        gzip.GzipFile(archive, "wb", mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w|") as tar,
    ):
        for name, content in _read_files(midi, {row["file"] for row in rows}):
            member = tarfile.TarInfo(f"{name}/{hashlib.md5(content).hexdigest()}.mid")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
            members[name] = member.name
    missing = [row["file"] for row in rows if row["file"] not in members]
    if len(missing) == len(rows):
        raise InputError(f"{midi} has no file that {table} names, such as {missing[0]}: name them by their paths in it")
    if missing:
        logger.warning("%d of %d descriptions have no file: %s, ...", len(missing), len(rows), ", ".join(missing[:5]))
    with open(captions, "w", encoding="utf-8") as lines:
        for row in rows:
            location = members.get(row["file"], f"{row['file']}/missing")
            lines.write(json.dumps({"location": location} | row) + "\n")


def _checked(row: dict, where: str) -> dict:
    if not isinstance(row["file"], str) or not row["file"]:
        raise InputError(f"{where}: it names no file; remove it, or name one")
    if "split" in row and row["split"] not in SPLITS:
        raise InputError(f"{where}: the split {row['split']!r} is unknown; write train, valid or test")
    return row | {"file": str(PurePosixPath(row["file"]))}


def _read_files(midi: str | Path, named: Container[str]) -> Iterator[tuple[str, bytes]]:
    """The paths and contents of files that are named, or whose suffix is MIDI's."""
    if os.path.isdir(midi):
        for name, path in files_in(midi).items():
            if name in named or name.lower().endswith(MIDI_SUFFIXES):
                yield name, path.read_bytes()
        return
    try:
        with tarfile.open(midi, "r|*") as tar:
            for info in tar:
                name = str(PurePosixPath(info.name))
                file = tar.extractfile(info) if info.isreg() else None
                if file and (name in named or name.lower().endswith(MIDI_SUFFIXES)):
                    yield name, file.read()
    except (tarfile.TarError, EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError) as error:
        raise InputError(f"{midi} is no tar, or is damaged ({error}): give a folder, or pack it again") from None
