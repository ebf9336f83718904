"""Files that appear under their names only when they are complete; hashes of their contents."""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

logger = logging.getLogger("libretto")


@contextmanager
def written_whole(*paths: str | Path) -> Iterator[list[Path]]:
    """Temporary names beside `paths`: all renamed at the end, or removed after an error."""
    targets = [Path(path) for path in paths]
    parts = [path.with_name(f"{path.name}.part") for path in targets]
    try:
        yield parts
        for part, path in zip(parts, targets, strict=True):
            os.replace(part, path)
    except OSError as error:
        if error.filename is None:  # a failed write does not name its file
            error.filename = os.path.commonpath(targets)
        raise
    finally:
        for part in parts:
            part.unlink(missing_ok=True)


def file_sha256(path: str | Path) -> str:
    """The SHA-256 of a file's content, as 64 hex digits; read in pieces."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def listing_sha256(files: Mapping[str, str]) -> str:
    """The SHA-256 of a folder: of a line `<sha256>  <name>` for each file, sorted by name, as `sha256sum` prints them.

    Args:
        files: the SHA-256 of each file's content by its path in the folder.
    """
    text = "".join(f"{digest}  {name}\n" for name, digest in sorted(files.items()))
    return hashlib.sha256(text.encode()).hexdigest()


def files_in(folder: str | Path) -> dict[str, Path]:
    """The files in a folder by their paths there, sorted; without the one that Snakemake adds to a finished one."""
    paths = (path for path in Path(folder).rglob("*") if path.is_file() and path.name != ".snakemake_timestamp")
    return dict(sorted((path.relative_to(folder).as_posix(), path) for path in paths))


def folder_sha256(folder: str | Path) -> str:
    """`listing_sha256` of what lies in a folder."""
    return listing_sha256({name: file_sha256(path) for name, path in files_in(folder).items()})


def inputs_hash(settings: dict, inputs: list[str | Path]) -> str:
    """A hash of settings and of the contents of files: it names a training's folder, and a generation's.

    Interrupted work resumes only from a folder that was written with the same settings and inputs.

    Args:
        settings: anything that JSON can hold.
        inputs: files, or folders of files.

    Returns:
        16 hex digits.
    """
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for number, path in enumerate(map(Path, inputs)):
        files = files_in(path) if path.is_dir() else {".": path}
        for name, file in files.items():
            digest.update(f"\0{number}\0{name}\0{file_sha256(file)}".encode())
    return digest.hexdigest()[:16]


def remove(path: Path) -> None:
    """Remove a file or a folder as far as possible: on NFS, open files cannot be removed, which is not an error."""

    def warn(path, error):
        logger.warning("%s cannot be removed: %s", path, error)

    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, onerror=lambda function, path, error: warn(path, error[1]))
    else:
        try:
            path.unlink()
        except OSError as error:
            warn(path, error)


def follow_umask(folder: str | Path) -> None:
    """Give a saved model's weights the mode of its config: safetensors writes 0600, which only their owner can read."""
    for weights in Path(folder).glob("*.safetensors"):
        shutil.copymode(weights.with_name("config.json"), weights)
