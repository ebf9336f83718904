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

from libretto.config.digests import content_digest

DIGESTS = ".snakemake/digests"
RECORDS = "records"


def record_path(log: str | Path) -> Path:
    """Where the record of a job lies, by its log: `logs/score/amt.log` becomes `records/score/amt.json`."""
    parts = list(Path(log).parts)
    parts[parts.index("logs")] = RECORDS
    return Path(*parts).with_suffix(".json") if parts[-1].endswith(".log") else Path(*parts)


def write_record(job, started: datetime) -> None:
    """Write the record of a job that has ended.

    Args:
        job: as in `libretto.job.start_job`.
        started: when it began.
    """
    target = record_path(job.log[0])
    folder = Path(*target.parts[: target.parts.index(RECORDS) + 1])
    record = {
        "rule": job.rule,
        "folder": folder.parent.as_posix(),
        "inputs": contents(job.input),
        "outputs": contents(job.output),
        "params": {name: value for name, value in job.params.items()},
        "threads": job.threads,
        "resources": {name: value for name, value in job.resources.items() if not name.startswith("_")},
        "started": started.isoformat(timespec="seconds"),
        "ended": datetime.now(UTC).isoformat(timespec="seconds"),
        "host": socket.gethostname(),
        "slurm_job": os.environ.get("SLURM_JOB_ID"),
        "commit": _commit(folder),
        "environment": _kept(folder / "environments", _environment()),
    }
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    part.write_text(json.dumps(record, indent=1, sort_keys=True, default=str) + "\n")
    part.replace(target)


def contents(paths: Iterable[str]) -> dict[str, str]:
    """The SHA-256 of files and folders (`listing_sha256`) by their paths; what is not there is left out."""
    found = {path: content_digest(path, DIGESTS) for path in map(str, paths) if os.path.exists(path)}
    return {path: digest for path, digest in found.items() if digest}


def _commit(folder: Path) -> dict[str, str | None]:
    """The checkout's commit, and where tracked files differ from it, the name of a file that says how."""
    commit = _git("rev-parse", "HEAD")
    changes = _git("diff", "HEAD") if commit else None
    return {"id": commit, "changes": _kept(folder / "changes", changes) if changes else None}


def _git(*arguments: str) -> str | None:
    try:
        return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True).stdout.strip()
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
    name = hashlib.sha256(text.encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / name).exists():
        (folder / name).write_text(text)
    return name


def read_job_records(folder: str | Path) -> dict[Path, dict]:
    """The records of a run's jobs, by their paths: those in `folder`, and those of stand-ins beside it.

    Args:
        folder: of the run.
    """
    folder = Path(folder)
    places = [folder / RECORDS, *sorted(folder.parent.glob(f"standins/*/{RECORDS}"))]
    return {path: json.loads(path.read_text()) for place in places for path in sorted(place.rglob("*.json"))}
