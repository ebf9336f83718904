"""Whether a run's files are what its jobs made, and its jobs read what others made: by their records.

Nothing is written, Snakemake is not asked, and a copy of the run's folder anywhere will do.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from libretto.files import file_sha256, files_in, folder_sha256
from libretto.provenance.records import RECORDS, read_job_records

# What jobs leave in a run's folder beside their results.
BESIDE = {RECORDS, "benchmarks", "checkpoints", "logs", "preflight", "sweep", "compose"}
SUMS, CRATE, LAST = "provenance/sha256sums.txt", "provenance/ro-crate-metadata.json", "provenance.json"


@dataclass(frozen=True, order=True)
class Finding:
    """Something that is not as the records say: what is the matter with which file."""

    kind: str
    path: str
    text: str


class Run:
    """A run's folder, which may be a copy, and the records of its jobs.

    Attributes:
        folder: where it lies.
        records: of its jobs, by their paths.
        made: the record of the job that made a result, by the result's path in the records.

    Args:
        folder: of the run, such as `results/demo`.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self.records = read_job_records(folder)
        self.made = {path: record for record in self.records.values() for path in record["outputs"]}
        own = [record for path, record in self.records.items() if path.is_relative_to(self.folder)]
        self.name = own[0]["folder"] if own else self.folder.as_posix()

    def here(self, path: str) -> Path:
        """Where a file of the records lies now."""
        for old, new in ((self.name, self.folder), (str(Path(self.name).parent), self.folder.parent)):
            if Path(path).is_relative_to(old):
                return new / Path(path).relative_to(old)
        return Path(path)

    def digest(self, path: str) -> str | None:
        """The SHA-256 of what is there now; None if nothing is."""
        place = self.here(path)
        return (folder_sha256 if place.is_dir() else file_sha256)(place) if place.exists() else None


def audit(folder: str | Path) -> list[Finding]:
    """All that is not as the records say.

    Args:
        folder: of the run.
    """
    run = Run(folder)
    if not run.records:
        return [Finding("missing", str(folder), "it holds no records: nothing can be said of it")]
    found = [*_changed_results(run), *_changed_inputs(run), *_foreign(run), *_changed_records(run), *_crate(run)]
    return sorted(set(found))


def _changed_results(run: Run):
    for path, record in run.made.items():
        digest = run.digest(path)
        if digest is None and Path(path).is_relative_to(run.name):
            yield Finding("missing", path, f"{record['rule']} made it, and it is not there")
        elif digest not in (None, record["outputs"][path]):
            yield Finding("changed", path, f"it is not what {record['rule']} made")
        pin = (record["params"].get("entry") or {}).get("sha256")
        if pin and len(record["outputs"]) == 1 and record["outputs"][path] != pin:
            yield Finding("source", path, f"the config pins it to {pin}")


def _changed_inputs(run: Run):
    for record in run.records.values():
        for path, digest in record["inputs"].items():
            maker = run.made.get(path)
            if maker and maker["outputs"][path] != digest:
                yield Finding("input", path, f"{record['rule']} read other content than {maker['rule']} made")
            elif not maker and run.digest(path) not in (None, digest):
                yield Finding("source", path, f"it has changed since {record['rule']} read it")


def _foreign(run: Run):
    for name in files_in(run.folder):
        path = f"{run.name}/{name}"
        known = any(str(parent) in run.made for parent in [Path(path), *Path(path).parents])
        if not known and Path(name).parts[0] not in BESIDE:
            yield Finding("foreign", path, "no job made it")


def _changed_records(run: Run):
    sums = run.folder / SUMS
    if not sums.exists():
        return
    lines = (line.split("  ", 1) for line in sums.read_text().splitlines())
    then = {name: digest for digest, name in lines if Path(name).parts[0] == RECORDS}
    now = {f"{RECORDS}/{name}": file_sha256(path) for name, path in files_in(run.folder / RECORDS).items()}
    for name in sorted(then.keys() | now.keys()):
        if name not in now:
            yield Finding("record", f"{run.name}/{name}", "it was there when the run ended")
        elif name in then and then[name] != now[name]:
            yield Finding("record", f"{run.name}/{name}", "it is not what it was when the run ended")


def _crate(run: Run):
    place = run.folder / CRATE
    if not place.exists():
        return
    for entity in json.loads(place.read_text())["@graph"]:
        path = _path_of(entity, run)
        record = run.made.get(path)
        if record and entity.get("sha256") != record["outputs"][path]:
            yield Finding("crate", path, "the crate has another SHA-256 than its record")


def _path_of(entity: Mapping, run: Run) -> str:
    """The path of an entity of the crate, whose identifiers are relative to the crate's folder."""
    identifier = unquote(entity["@id"]).rstrip("/")
    return f"{run.name}/{identifier[3:]}" if identifier.startswith("../") and "sha256" in entity else ""
