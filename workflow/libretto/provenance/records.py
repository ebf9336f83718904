"""A record of each job, written at its end by the job itself: what it read and made, with what, where and when.

`results/<run>/records/` has a JSON file for each log of `results/<run>/logs/`. The contents of files are recorded as
they were then, so what is changed later can be told from it.
"""

import ctypes
import hashlib
import json
import os
import platform
import socket
import subprocess
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from libretto.config.digests import DIGESTS, content_digest
from libretto.shared_files import write_shared

# Of what `scontrol show job` says.
SLURM_FIELDS = {"SubmitTime", "EligibleTime", "StartTime", "TimeLimit", "Restarts"}

RECORDS, LOCKS = "records", "locks"


def place_by_log(log: str | Path, kind: str) -> Path:
    """A job's own place among the run's `kind`, by its log: `logs/score/amt.log` becomes `locks/score/amt`."""
    parts = list(Path(log).with_suffix("").parts)
    parts[parts.index("logs", 2)] = kind  # after results/ and the run's name
    return Path(*parts)


def record_path(log: str | Path) -> Path:
    """Where the record of a job lies."""
    path = place_by_log(log, RECORDS)
    return path.with_name(f"{path.name}.json")


def write_record(job, started: datetime, first: Path | None = None, tries: int = 1) -> None:
    """Write the record of a job that has ended.

    Args:
        job: as in `libretto.job.start_job`.
        started: when it began.
        first: where the record of the job that first made its result is kept, if it is taken from there; written if
            it is not there yet.
        tries: how often it began before it ended well.
    """
    target = record_path(job.log[0])
    if first and first.exists():
        write_shared(target, first.read_text())
        return
    folder = Path(*target.parts[: target.parts.index(RECORDS, 2) + 1])
    record = {
        "rule": job.rule,
        "folder": folder.parent.as_posix(),
        "inputs": contents(job.input),
        "outputs": contents(job.output),
        "params": {name: value for name, value in job.params.items()},
        "threads": job.threads,
        "resources": {name: value for name, value in job.resources.items() if not name.startswith("_")},
        "started": started.isoformat(timespec="milliseconds"),
        "ended": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "host": socket.gethostname(),
        "slurm_job": os.environ.get("SLURM_JOB_ID"),
        "slurm": _slurm_job(),
        "tries": tries,
        "commit": _commit(folder),
        "environment": _kept(folder / "environments", _environment()),
    }
    for place in filter(None, (target, first)):
        write_shared(place, json.dumps(record, indent=1, sort_keys=True, default=str) + "\n")


def contents(paths: Iterable[str]) -> dict[str, str]:
    """The SHA-256 of files and folders (`listing_sha256`) by their paths; what is not there is left out."""
    found = {path: content_digest(path, DIGESTS) for path in map(str, paths) if os.path.exists(path)}
    return {path: digest for path, digest in found.items() if digest}


def _commit(folder: Path) -> dict[str, str | None]:
    """The checkout's commit, and where tracked files differ from it, the name of a file that says how."""
    commit = _git("rev-parse", "HEAD")
    changes = _git("diff", "HEAD") if commit else None
    return {"id": commit, "changes": _kept(folder / "changes", changes) if changes else None}


def _slurm_job() -> dict[str, str] | None:
    """What Slurm says of the job that this process is in: when it was submitted, how long it may take."""
    if "SLURM_JOB_ID" not in os.environ:
        return None
    try:
        command = ["scontrol", "--oneliner", "show", "job", os.environ["SLURM_JOB_ID"]]
        told = subprocess.run(command, capture_output=True, check=True, text=True, timeout=60).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    fields = dict(item.partition("=")[::2] for item in told.split())
    return {key: value for key, value in fields.items() if key in SLURM_FIELDS}


def _git(*arguments: str) -> str | None:
    try:
        run = subprocess.run(["git", *arguments], capture_output=True, check=True)
        return run.stdout.decode(errors="replace").strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _environment() -> str:
    """What ran: Python, the installed packages, the system, and what is loaded of FluidSynth and of a GPU."""
    folders = [Path(folder) for folder in sys.path if folder and Path(folder).is_dir()]
    names = {path.name.removesuffix(".dist-info") for folder in folders for path in folder.glob("*.dist-info")}
    packages = dict(sorted(name.rsplit("-", 1) for name in names))
    found: dict = {"python": platform.python_version(), "system": platform.platform(), "packages": packages}
    if synthesizer := sys.modules.get("fluidsynth"):
        version = synthesizer._fl.fluid_version_str
        version.restype = ctypes.c_char_p
        found["libfluidsynth"] = version().decode()
    torch = sys.modules.get("torch")
    if torch and torch.cuda.is_initialized():
        found["gpu"], found["cuda"] = torch.cuda.get_device_name(), torch.version.cuda
        driver = Path("/proc/driver/nvidia/version")
        found["driver"] = driver.read_text().splitlines()[0] if driver.exists() else None
    return json.dumps(found, indent=1, sort_keys=True) + "\n"


def _kept(folder: Path, text: str) -> str:
    """Keep a text that many records share once; returns its name, which is its SHA-256."""
    name = text_name(text)
    if not (folder / name).exists():
        write_shared(folder / name, text)
    return name


def text_name(text: str) -> str:
    """The name under which a text is kept: the beginning of its SHA-256."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class Records:
    """The records of a run's jobs, and of the jobs that made its stand-ins.

    Attributes:
        every: the records by their paths.
        made: the path of the record of the job that made a result, by the result's path: of several, the last one.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: str | Path):
        places = [Path(folder, RECORDS), *sorted(Path(folder).parent.glob(f"standins/*/{RECORDS}"))]
        paths = [path for place in places for path in sorted(place.rglob("*.json"))]
        self.every = {path: json.loads(path.read_text()) for path in paths}
        in_time = sorted(self.every.items(), key=lambda item: item[1]["ended"])
        self.made = {result: path for path, record in in_time for result in record["outputs"]}

    def of(self, result: str) -> dict | None:
        """The record of the job that made a result."""
        return self.every.get(self.made.get(result, Path()))

    def behind(self, results: Iterable[str]) -> dict[Path, dict]:
        """The records of the jobs that made results, and what they read, and so on, by their paths."""
        found, queue = {}, list(results)
        while queue:
            path = self.made.get(queue.pop())
            if path is not None and path not in found:
                found[path] = self.every[path]
                queue += found[path]["inputs"]
        return dict(sorted(found.items()))
