"""The last errors of failed jobs, which Snakemake's own messages bury.

The Snakefile imports this module on every call: it must stay quick to import.
"""

import glob
import os
import re
from collections.abc import Iterable
from datetime import datetime

from libretto.disk import full_disk

ERROR = re.compile(r"\S+ \S+ ERROR (.*)")  # as libretto.log writes it


def failures(jobs: Iterable, since: datetime) -> list[str]:
    """What each failed job said last, a line each.

    Args:
        jobs: Snakemake's: each has a `name` and the paths of its `log`.
        since: when the run started; an older log is another run's.
    """
    lines = []
    for job in jobs:
        # With several GPUs each process has a log: train/amt.log, train/amt.log.1, ...
        logs = [path for log in job.log for path in sorted(glob.glob(f"{glob.escape(log)}*"))]
        errors = {path: error for path in logs if (error := _last_error(path, since))}
        if errors:
            path, error = next(iter(errors.items()))
            lines.append(f"Error: {error} ({path})")
        elif full := next(filter(None, (full_disk(os.path.dirname(log)) for log in job.log)), None):
            lines.append(f"Error: {job.name} logged no error. {full}")
        else:
            paths = ", ".join(job.log)
            lines.append(
                f"Error: {job.name} logged no error in {paths}: it failed to start, was killed (memory or time "
                "limit), or left an output unwritten; see the messages above"
            )
    return sorted(lines)


def _last_error(path: str, since: datetime) -> str | None:
    if os.path.getmtime(path) < since.timestamp():
        return None
    with open(path, errors="replace") as file:
        errors = [match[1] for line in file if (match := ERROR.match(line))]
    return errors[-1] if errors else None
