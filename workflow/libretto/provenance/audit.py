"""Whether a run's files are what its jobs made, and its jobs read what others made: by their records.

Nothing is written, Snakemake is not asked, and a copy of the run's folder anywhere will do.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from libretto.files import file_sha256, files_in, folder_sha256
from libretto.provenance.records import LOCKS, RECORDS, Records, text_name

# What jobs leave in a run's folder beside its results.
BESIDE = {RECORDS, LOCKS, "benchmarks", "checkpoints", "logs"}
# What of the checkout jobs read: the commit tells of it.
CODE = {"Snakefile", "uv.lock", "workflow"}
SUMS, CRATE = "provenance/sha256sums.txt", "provenance/ro-crate-metadata.json"


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
        name: its folder by the records, such as `results/demo`.
        records: of all its jobs.
        final: the records of the jobs that its final results come from, by their paths; of all jobs before its end.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self.records = Records(folder)
        own = [record for path, record in self.records.every.items() if path.is_relative_to(self.folder)]
        self.name = own[0]["folder"] if own else self.folder.as_posix()
        last = self.records.of(f"{self.name}/{SUMS}")
        self.final = self.records.behind([*last["inputs"], f"{self.name}/{SUMS}"]) if last else self.records.every

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
    if not run.records.every:
        return [Finding("missing", str(folder), "it holds no records: nothing can be said of it")]
    found = [*_changed_results(run), *_changed_inputs(run), *_foreign(run), *_changed_records(run), *_crate(run)]
    return sorted(set(found))


def _changed_results(run: Run):
    for place, record in run.final.items():
        for path, then in record["outputs"].items():
            if run.records.made[path] != place:
                continue  # a later job has made it again
            now = run.digest(path)
            if now is None and Path(path).is_relative_to(run.name):
                yield Finding("missing", path, f"{record['rule']} made it, and it is not there")
            elif now not in (None, then):
                yield Finding("changed", path, f"it is not what {record['rule']} made")
            pin = (record["params"].get("entry") or {}).get("sha256")
            if pin and len(record["outputs"]) == 1 and then != pin:
                yield Finding("source", path, f"the config pins it to {pin}")


def _changed_inputs(run: Run):
    for record in run.final.values():
        for path, then in record["inputs"].items():
            maker = run.records.of(path)
            if maker and maker["outputs"][path] != then:
                yield Finding("input", path, f"{record['rule']} read other content than {maker['rule']} made")
            elif not maker and Path(path).parts[0] not in CODE and run.digest(path) not in (None, then):
                yield Finding("source", path, f"it has changed since {record['rule']} read it")


def _foreign(run: Run):
    for name in files_in(run.folder):
        path = f"{run.name}/{name}"
        known = any(str(parent) in run.records.made for parent in [Path(path), *Path(path).parents])
        if not known and Path(name).parts[0] not in BESIDE:
            yield Finding("foreign", path, "no job made it")


def _changed_records(run: Run):
    now = files_in(run.folder / RECORDS)
    for name, path in now.items():  # texts that records share are named after their content
        if Path(name).parts[0] in ("environments", "changes") and text_name(path.read_text()) != path.name:
            yield Finding("record", f"{run.name}/{RECORDS}/{name}", "its content is not what its name says")
    sums = run.folder / SUMS
    lines = [line.split("  ", 1) for line in sums.read_text().splitlines()] if sums.exists() else []
    for digest, name in lines:
        inside = Path(name).relative_to(RECORDS).as_posix() if Path(name).parts[0] == RECORDS else None
        if inside and inside not in now:
            yield Finding("record", f"{run.name}/{name}", "it was there when the run ended")
        elif inside and file_sha256(now[inside]) != digest:
            yield Finding("record", f"{run.name}/{name}", "it is not what it was when the run ended")


def _crate(run: Run):
    place = run.folder / CRATE
    if not place.exists():
        return
    for entity in json.loads(place.read_text())["@graph"]:
        path = _path_of(entity, run)
        record = run.records.of(path)
        if record and entity.get("sha256") != record["outputs"][path]:
            yield Finding("crate", path, "the crate has another SHA-256 than its record")


def _path_of(entity: Mapping, run: Run) -> str:
    """The path of an entity of the crate, whose identifiers are relative to the crate's folder."""
    identifier = unquote(entity["@id"]).rstrip("/")
    return f"{run.name}/{identifier[3:]}" if identifier.startswith("../") and "sha256" in entity else ""
