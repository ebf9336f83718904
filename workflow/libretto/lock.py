"""A lock that keeps two jobs out of one folder, also on different nodes: a killed Snakemake leaves its jobs running."""

import fcntl
import logging
import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from libretto.errors import InputError

LOCK = "lock"  # the file's name
LOCK_WAIT = 180  # seconds: an NFS server keeps a dead node's lock until its lease ends, 90 s by Linux's default
LOCK_RETRY = 5  # seconds

logger = logging.getLogger("libretto")


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of `folder`; the kernel releases it when the process ends, however it ends.

    On NFS, Linux makes it a lock on the server, which other nodes respect. The server keeps a dead node's lock for a
    while: a lock held on another host is waited for, `LOCK_WAIT` seconds at most.

    Args:
        folder: of a job, a variant's trainings, or a system's batches; created if missing.

    Raises:
        InputError: another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("a") as file:  # writable: NFS demands it for an exclusive lock
        _lock(file, folder)
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()} since {time.strftime('%Y-%m-%d %H:%M:%S')}")
        if "SLURM_JOB_ID" in os.environ:
            file.write(f", Slurm job {os.environ['SLURM_JOB_ID']}")
        file.flush()
        os.fsync(file.fileno())  # on NFS, other nodes would see it only after the file is closed
        yield


def holder(folder: Path) -> str | None:
    """Who holds the lock of `folder`, None if nobody does."""
    try:
        with (folder / LOCK).open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return (folder / LOCK).read_text() or "another process"
    except OSError:  # nobody has locked it yet, or it cannot be locked
        pass
    return None


def _lock(file: TextIO, folder: Path) -> None:
    deadline = time.monotonic() + LOCK_WAIT
    is_waiting = False
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except (BlockingIOError, PermissionError):
            holder = (folder / LOCK).read_text()
        except OSError as error:  # Lustre mounted without `flock`, NFS without its lock daemon
            logger.warning("%s cannot be locked (%s): make sure that no other job writes there", folder, error.strerror)
            return
        host = re.match(r"process \d+ on (\S+) since ", holder)
        if host is None or host[1] == socket.gethostname() or time.monotonic() > deadline:
            raise InputError(
                f"{folder} is in use by {holder or 'another process'}. Wait until it has ended, or stop it"
            )
        if not is_waiting:
            logger.warning("%s is locked by %s: waiting up to %d s, in case that node died", folder, holder, LOCK_WAIT)
            is_waiting = True
        time.sleep(LOCK_RETRY)
