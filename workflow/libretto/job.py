"""What every script begins with: its log, and a record of its job, which is written once all has gone well."""

import atexit
import gc
import logging
import os
import sys
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from libretto.lock import locked
from libretto.log import start_log
from libretto.provenance.records import LOCKS, place_by_log, write_record

TRIES = "tries"  # a file with a byte for each beginning of a job that has not ended well yet
_locks = ExitStack()  # held until the process ends
os.register_at_fork(after_in_child=_locks.close)  # workers that outlive a killed job hold no lock


@dataclass
class Job:
    """What a script that Snakemake starts by a shell command knows of its job; attributes as Snakemake's.

    Attributes:
        first: where the record lies of the job that first made this result: it stays the result's record.
    """

    rule: str
    log: list[str]
    input: list[str]
    output: list[str]
    params: dict
    threads: int | None = None
    resources: dict = field(default_factory=dict)
    first: Path | None = None


def start_job(job) -> logging.Logger:
    """Log from here on; at the end of the script, unless an error ends it, record what the job read and made.

    Args:
        job: Snakemake's object of the job, or a `Job`.

    Raises:
        InputError: the same job is still running elsewhere: a killed Snakemake leaves its jobs behind.
    """
    log = start_log(job.log[0], "a")  # which another process may be writing to
    place = place_by_log(job.log[0], LOCKS)
    _locks.enter_context(locked(place))
    os.truncate(job.log[0], 0)
    tries = place / TRIES
    with tries.open("a") as file:
        file.write(".")
    started, report = datetime.now(UTC), sys.excepthook

    def fail(kind, error, traceback):
        atexit.unregister(finish)
        report(kind, error, traceback)

    def finish():
        if not all(map(os.path.exists, job.output)):
            return
        try:
            write_record(job, started, getattr(job, "first", None), tries.stat().st_size)
            tries.unlink()
        except Exception:
            log.exception("the record of this job cannot be written")
            os._exit(1)  # too late for an exception to fail the job

    atexit.register(finish)
    atexit.register(gc.freeze)  # or Python would look for garbage among all that torch and transformers made: a second
    sys.excepthook = fail
    return log
