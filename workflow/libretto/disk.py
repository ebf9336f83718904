"""Disks that are full or cannot be written to: one line that says which, and what to do.

The Snakefile imports this module on every call: it must stay quick to import.
"""

import errno
import os
import shutil
from pathlib import Path

from libretto.errors import InputError

ADVICE = {
    errno.ENOSPC: "make room on that disk and run again; finished jobs are kept",
    errno.EDQUOT: "delete files or ask for a larger quota, and run again; finished jobs are kept",
    errno.EROFS: "mount it writable, or work on a disk that is",
    errno.EACCES: "change its permissions, or those of the folder it is in, and run again",
}
MIN_FREE_BYTES = 1 << 20  # bytes: a disk with less free space counts as full


def check_writable(folder: str | Path) -> None:
    """Check that files can be written to `folder`, which need not exist yet.

    Raises:
        InputError: it, or the folder that it would be made in, is a file, a dangling link, on a read-only disk, or
            belongs to somebody else.
    """
    folder = Path(folder)
    while not folder.exists():
        if folder.is_symlink():
            raise InputError(
                f"{folder} is a link to {os.readlink(folder)}, which does not exist; make that folder, mount its disk, "
                "or remove the link"
            )
        folder = folder.parent
    if not folder.is_dir():
        raise InputError(f"{folder} is a file, but has to be a folder; rename the file or move it away")
    if not os.access(folder, os.W_OK | os.X_OK):
        read_only = os.statvfs(folder).f_flag & os.ST_RDONLY
        raise InputError(_line(errno.EROFS if read_only else errno.EACCES, folder.resolve()))


def free_bytes(folder: str | Path) -> int:
    """Free space on the disk of `folder`, which need not exist yet."""
    folder = Path(folder)
    return shutil.disk_usage(next(path for path in (folder, *folder.parents) if path.exists())).free


def disk_error(error: BaseException | None, folder: str | Path) -> str | None:
    """The line for the user if a disk caused an exception, or one that it was raised from.

    Args:
        error: any exception.
        folder: named where the error does not say which file it is about: only failures to open and to copy do.
    """
    while error is not None:
        for code in ADVICE:
            # The second is how libraries in Rust, such as safetensors, put it.
            if getattr(error, "errno", None) == code or f"(os error {code})" in str(error):
                # When a copy fails, the second file is the one that is written.
                return _line(code, getattr(error, "filename2", None) or getattr(error, "filename", None) or folder)
        error = error.__cause__
    return None


def full_disk(folder: str | Path) -> str | None:
    """The line for the user if the disk of `folder` is full, whatever failed there."""
    try:
        free = shutil.disk_usage(folder).free
    except OSError:  # a script may fail before it has made its folder
        return None
    return _line(errno.ENOSPC, folder) if free < MIN_FREE_BYTES else None


def _line(code: int, place: str | Path) -> str:
    return f"{place}: {os.strerror(code)}; {ADVICE[code]}"
