"""Checkpoints of a training that can be resumed: which of them are whole, and which training they belong to.

A training has a folder that is named by its hash. Its result stays there in `FINISHED`: a training that is asked for
again, though nothing that it depends on has changed, need not be done again. A variant's trainings lie beside each
other, and only one of them runs at a time.
"""

import fcntl
import hashlib
import json
import logging
import os
import shutil
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from libretto.errors import InputError
from libretto.files import written_whole

MARK = "complete"  # the last file that is written into a folder: the size and the SHA-256 of each of the others
FINISHED = "finished"  # in a training's folder: its result, once it is whole
LOCK = "lock"  # beside the folders of a variant's trainings: held by the one that runs
KEPT = 2  # checkpoints: the newest may be cut off by a kill, or damaged

logger = logging.getLogger("libretto")


def training_hash(settings: dict, inputs: list[str | Path]) -> str:
    """16 hex digits that name a training: its settings and the contents of all the files that it reads.

    Args:
        settings: anything that JSON can hold.
        inputs: files, or folders of files.
    """
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for number, path in enumerate(map(Path, inputs)):
        files = sorted(f for f in path.rglob("*") if f.is_file()) if path.is_dir() else [path]
        for file in files:
            digest.update(f"\0{number}\0{file.relative_to(path)}\0{_sha256(file)}".encode())
    return digest.hexdigest()[:16]


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of the trainings in `folder`; the kernel releases it when the process ends, however it ends.

    On NFS, Linux makes it a lock on the server, which other nodes respect.

    Args:
        folder: holds the trainings' folders; made where it does not exist.

    Raises:
        InputError: another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("a+") as file:  # writable: NFS demands it for an exclusive lock
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            file.seek(0)
            raise InputError(
                f"another training runs in {folder}: {file.read()}. Wait until it has ended, or stop it"
            ) from None
        except OSError as error:  # Lustre mounted without `flock`, NFS without its lock daemon
            logger.warning(
                "%s cannot be locked (%s): make sure that no other training runs there", folder, error.strerror
            )
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()} since {time.strftime('%Y-%m-%d %H:%M:%S')}")
        file.flush()
        os.fsync(file.fileno())  # on NFS, other nodes would see it only after the file is closed
        yield


def mark_complete(folder: Path) -> None:
    """Write `MARK` into a folder whose other files have all been written."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    with ThreadPoolExecutor() as pool:
        contents = pool.map(_content, files)
        recorded = {str(path.relative_to(folder)): content for path, content in zip(files, contents, strict=True)}
    with written_whole(folder / MARK) as (part,):
        part.write_text(json.dumps(recorded, indent=1, sort_keys=True) + "\n")


def _content(path: Path) -> dict:
    return {"bytes": path.stat().st_size, "sha256": _sha256(path)}


def _read_mark(folder: Path) -> dict | None:
    """What `mark_complete` recorded: size and SHA-256 by file; None where the mark is missing or damaged."""
    try:
        recorded = json.loads((folder / MARK).read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    return recorded if isinstance(recorded, dict) else None


def damage(folder: Path) -> str | None:
    """What is wrong with a folder that was marked complete, in words; None where all its files are what was written."""

    def check(name: str) -> str | None:
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        content = _content(path)
        return None if content == recorded[name] else f"{name} ({content['bytes']} bytes) is not what was written"

    recorded = _read_mark(folder)
    if recorded is None:
        return f"{MARK} is missing or damaged"
    with ThreadPoolExecutor() as pool:
        return next(filter(None, pool.map(check, recorded)), None)


def newest_complete(folder: Path, world: int) -> Path | None:
    """The checkpoint to resume from, or None where there is none: the newest that was written to its end.

    Args:
        folder: holds `checkpoint-<step>` folders, of which `remove_damaged` has removed what is not whole.
        world: number of processes that resume; each has a random state of its own.

    Raises:
        InputError: it was written by a different number of processes.
    """
    newest = next((path for path in _newest_first(folder) if _read_mark(path) is not None), None)
    if newest is None:
        return None
    random_states = ["rng_state.pth"] if world == 1 else [f"rng_state_{rank}.pth" for rank in range(world)]
    if missing := [name for name in random_states if not (newest / name).exists()]:
        raise InputError(
            f"{newest} cannot be resumed from: {', '.join(missing)} missing. Resume on as many GPUs as before, or "
            f"remove {folder} to train from the start"
        )
    return newest


def _newest_first(folder: Path) -> list[Path]:
    """The checkpoints by step: modification times mislead after a clock was set back."""
    steps = {path: path.name.removeprefix("checkpoint-") for path in folder.glob("checkpoint-*")}
    return sorted((path for path in steps if steps[path].isdecimal()), key=lambda path: int(steps[path]), reverse=True)


def remove_damaged(folder: Path) -> None:
    """Remove the checkpoints that a kill cut off, and damaged ones that are newer than the newest whole one.

    Args:
        folder: holds `checkpoint-<step>` folders.

    Raises:
        InputError: checkpoints were completed, and none of them is whole any more.
    """
    marked = []
    for path in _newest_first(folder):
        if _read_mark(path) is None:
            logger.warning("removing %s: it is incomplete", path)
            remove(path)
        else:
            marked.append(path)
    damaged = {}
    for path in marked:
        if not (problem := damage(path)):
            break
        damaged[path] = problem
    else:
        if damaged:
            problems = "; ".join(f"{path.name}: {problem}" for path, problem in damaged.items())
            raise InputError(f"no whole checkpoint is left ({problems}). Remove {folder} to train from the start")
    for path, problem in damaged.items():
        logger.warning("%s: %s. Falling back to the previous checkpoint", path, problem)
        (path / MARK).unlink()  # first: a folder that cannot be removed must not be resumed from
        remove(path)


def remove_old(folder: Path) -> None:
    """Remove all checkpoints but the newest `KEPT`."""
    for path in _newest_first(folder)[KEPT:]:
        remove(path)


def remove_all_but_finished(folder: Path) -> None:
    """Remove what a resume would need, of this training and of all others that lie beside it."""
    for path in [*folder.parent.iterdir(), *folder.iterdir()]:
        if path not in (folder, folder / FINISHED, folder.parent / LOCK):
            remove(path)


def remove(folder: Path) -> None:
    """Remove a folder as far as possible: on NFS, files that are still open cannot be removed, and must not matter."""

    def warn(function, path, error):
        logger.warning("%s cannot be removed: %s", path, error[1])

    shutil.rmtree(folder, onerror=warn)


def link_tree(source: Path, target: Path) -> None:
    """A folder's files under another name too: hard links, which take no space, or copies where there can be none."""
    shutil.copytree(source, target, copy_function=_link, dirs_exist_ok=True)


def _link(source, target):
    Path(target).unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
