"""Jobs that an earlier call of Snakemake left behind: when it is killed, they run on, or wait in a cluster's queue.

The Snakefile imports this module on every call: it must stay quick to import.
"""

import re
import shutil
import subprocess
from collections.abc import Collection, Iterable

from libretto.errors import InputError
from libretto.lock import holder
from libretto.provenance.records import LOCKS, place_by_log


def check_none_left(logs: Iterable[str], slurm_jobs: Collection[str]) -> None:
    """Check that nobody is about to write what the jobs of this call would write.

    Args:
        logs: of the jobs of this call; a running job holds the lock of its log's place.
        slurm_jobs: the Slurm jobs to which Snakemake has given jobs of this call before, as far as they are not known
            to have begun.

    Raises:
        InputError: a job is running or waiting.
    """
    holders = sorted(filter(None, (holder(place_by_log(log, LOCKS)) for log in logs)))
    slurm_jobs = sorted({*_queued(slurm_jobs), *re.findall(r"Slurm job (\S+)", " ".join(holders))})
    left = [*(f"Slurm job {number}" for number in slurm_jobs), *(text for text in holders if "Slurm job" not in text)]
    if left:
        stop = f"`scancel {' '.join(slurm_jobs)}`" if slurm_jobs else "stop them"
        raise InputError(
            f"jobs of an earlier call are still at work: {'; '.join(left)}. Wait until they have ended, what they "
            f"finish counts; or {stop}, they resume where they were. Then run again"
        )


def _queued(slurm_jobs: Collection[str]) -> list[str]:
    """Those that Slurm has not ended yet."""
    if not slurm_jobs or not shutil.which("squeue"):
        return []
    command = ["squeue", "--noheader", "--format", "%A", "--jobs", ",".join(slurm_jobs)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()
