"""Resuming a training: which of its checkpoints are whole, and which training they belong to.

A training has a folder named by its hash. Its result stays there in `FINISHED`, and is reused when the training is
requested again and nothing it depends on has changed. A variant's trainings lie side by side, and only one of them
runs at a time.
"""

import json
import logging
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from libretto.errors import InputError
from libretto.files import file_sha256, remove, written_whole
from libretto.lock import LOCK

MARK = "complete"  # the last file written to a folder: the size and the SHA-256 of each of the others
FINISHED = "finished"  # in a training's folder: its result, once it is whole
MAX_CHECKPOINTS = 2  # checkpoints: a kill may cut off the newest, or it may be damaged

logger = logging.getLogger("libretto")


def mark_complete(folder: Path) -> None:
    """Write `MARK` to a folder whose other files have all been written."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    with ThreadPoolExecutor() as pool:
        contents = pool.map(_content, files)
        recorded = {str(path.relative_to(folder)): content for path, content in zip(files, contents, strict=True)}
    with written_whole(folder / MARK) as (part,):
        part.write_text(json.dumps(recorded, indent=1, sort_keys=True) + "\n")


def _content(path: Path) -> dict:
    return {"bytes": path.stat().st_size, "sha256": file_sha256(path)}


def _read_mark(folder: Path) -> dict | None:
    """What `mark_complete` recorded: size and SHA-256 by file; None if the mark is missing, damaged or empty."""
    try:
        recorded = json.loads((folder / MARK).read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    return recorded if isinstance(recorded, dict) and recorded else None


def _is_marked(checkpoint: Path) -> bool:
    """Whether a checkpoint has a mark, and the mark lists the model's weights."""
    return any(name.endswith(".safetensors") for name in _read_mark(checkpoint) or {})


def find_damage(folder: Path) -> str | None:
    """What is wrong with a folder marked as complete; None if every file has its recorded size and SHA-256."""

    def check(name: str, expected: dict) -> str | None:
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        content = _content(path)
        return None if content == expected else f"{name} ({content['bytes']} bytes) is not what was written"

    recorded = _read_mark(folder)
    if recorded is None:
        return f"{MARK} is missing or damaged"
    with ThreadPoolExecutor() as pool:
        return next(filter(None, pool.map(check, recorded, recorded.values())), None)


def newest_complete(folder: Path, world: int) -> Path | None:
    """The checkpoint to resume from: the newest complete one; None if there is none.

    Args:
        folder: holds `checkpoint-<step>` folders; `remove_damaged` has removed those that are not whole.
        world: number of processes that resume; each has its own random state.

    Raises:
        InputError: it was written by a different number of processes.
    """
    newest = next((path for path in _newest_first(folder) if _is_marked(path)), None)
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
    names = {path: path.name.removeprefix("checkpoint-") for path in folder.glob("checkpoint-*")}
    steps = {path: int(name) for path, name in names.items() if name.isascii() and name.isdecimal()}
    return sorted(steps, key=steps.__getitem__, reverse=True)


def remove_damaged(folder: Path) -> None:
    """Remove checkpoints that a kill cut off, and damaged ones that are newer than the newest whole one.

    Args:
        folder: holds `checkpoint-<step>` folders.

    Raises:
        InputError: checkpoints were completed, but none of them is still whole.
    """
    marked = []
    for path in _newest_first(folder):
        if not _is_marked(path):
            logger.warning("removing %s: it is incomplete", path)
            remove(path)
        else:
            marked.append(path)
    damaged = {}
    for path in marked:
        if not (problem := find_damage(path)):
            break
        damaged[path] = problem
    else:
        if damaged:
            problems = "; ".join(f"{path.name}: {problem}" for path, problem in damaged.items())
            raise InputError(f"no whole checkpoint is left ({problems}). Remove {folder} to train from the start")
    for path, problem in damaged.items():
        logger.warning("%s: %s. Falling back to the previous checkpoint", path, problem)
        for kept in folder.glob("best-*"):  # its weights may be the same file: it is kept again at the same step
            if not _inodes(kept).isdisjoint(_inodes(path)):
                remove(kept)
        (path / MARK).unlink()  # first: training must not resume from a folder that cannot be removed
        remove(path)


def _inodes(folder: Path) -> set[int]:
    return {path.stat().st_ino for path in folder.rglob("*") if path.is_file()}


def remove_old(folder: Path) -> None:
    """Remove all checkpoints but the newest `MAX_CHECKPOINTS`."""
    for path in _newest_first(folder)[MAX_CHECKPOINTS:]:
        remove(path)


def remove_all_but_finished(folder: Path) -> None:
    """Remove all but the results of this training and of the finished ones beside it.

    Args:
        folder: of this training; beside it are the same variant's trainings with other settings.
    """
    for path in folder.parent.iterdir():
        if (path / FINISHED).exists():
            for inner in path.iterdir():
                if inner.name != FINISHED:
                    remove(inner)
        elif path != folder.parent / LOCK:
            remove(path)


def link_tree(source: Path, target: Path) -> None:
    """Put a folder's files under a second name: as hard links, which take no space, or else as copies."""
    shutil.copytree(source, target, copy_function=_link, dirs_exist_ok=True)


def _link(source, target):
    Path(target).unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
