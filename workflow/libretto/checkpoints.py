"""Checkpoints of a training that can be resumed: which of them are whole, and which training they belong to.

A training has a folder that is named by its hash. Its result stays there in `FINISHED`: a training that is asked for
again, though nothing that it depends on has changed, need not be done again.
"""

import hashlib
import json
import logging
import os
import shutil
from pathlib import Path

from libretto.errors import InputError

MARK = "complete"  # written into a checkpoint after everything else
FINISHED = "finished"  # in a training's folder: its result, once it is whole
REQUIRED = ("model.safetensors", "optimizer.pt", "scheduler.pt", "trainer_state.json")

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
            with file.open("rb") as stream:
                content = hashlib.file_digest(stream, "sha256").hexdigest()
            digest.update(f"\0{number}\0{file.relative_to(path)}\0{content}".encode())
    return digest.hexdigest()[:16]


def newest_complete(folder: Path, world: int) -> Path | None:
    """The checkpoint to resume from, or None where there is none: the newest that was written to its end.

    Args:
        folder: holds `checkpoint-<step>` folders.
        world: number of processes that resume; each has a random state of its own.

    Raises:
        InputError: a whole checkpoint has lost a file. transformers would silently go on with a fresh optimizer.
    """
    marked = [path for path in folder.glob("checkpoint-*") if (path / MARK).exists()]
    if not marked:
        return None
    newest = max(marked, key=lambda path: int(path.name.rpartition("-")[2]))
    random_states = ["rng_state.pth"] if world == 1 else [f"rng_state_{rank}.pth" for rank in range(world)]
    present = {path.name for path in newest.iterdir()}
    if "model.safetensors.index.json" in present:
        present.add("model.safetensors")
    if missing := [name for name in [*REQUIRED, *random_states] if name not in present]:
        raise InputError(
            f"{newest} cannot be resumed from: {', '.join(missing)} missing. Put it back, resume on as many GPUs as "
            f"before, or remove {folder} to train from the start"
        )
    return newest


def remove_incomplete(folder: Path) -> None:
    """Remove the checkpoints that a kill cut off: counted among the newest, they would push out the whole ones."""
    for path in folder.glob("checkpoint-*"):
        if not (path / MARK).exists():
            remove(path)


def remove_all_but_finished(folder: Path) -> None:
    """Remove what a resume would need, of this training and of all others that lie beside it."""
    for path in [*folder.parent.iterdir(), *folder.iterdir()]:
        if path not in (folder, folder / FINISHED):
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
