"""What a run left behind: its files and their contents, the job that made each, and Snakemake's records of the jobs."""

import base64
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from libretto.errors import InputError
from libretto.files import file_sha256, files_in, listing_sha256

NAME_LENGTH = 254  # of a file's name, and an @ before all but the last part of a longer one


@dataclass(frozen=True)
class Content:
    """What lies at a path: its size and its SHA-256, and for a folder how many files.

    The digest of a folder is that of its listing: `libretto.files.listing_sha256`.
    """

    sha256: str
    size: int
    files: dict[str, str] | None = None


@dataclass(frozen=True, order=True)
class Job:
    """One job of the run: its rule and its wildcards, sorted by name."""

    rule: str
    wildcards: tuple[tuple[str, str], ...] = ()

    @property
    def name(self) -> str:
        """As people write it: `generate system=amt-t1.0`."""
        return " ".join([self.rule, *(f"{name}={value}" for name, value in self.wildcards)])


def read_contents(paths: Iterable[str | Path], threads: int) -> dict[str, Content]:
    """Hash files and folders, several at a time, with a progress bar."""
    places = [Path(path) for path in paths]
    files = {path: files_in(path) for path in places if path.is_dir()}
    inside = {file for found in files.values() for file in found.values()}
    single = sorted({path for path in places if path.is_file()} | inside)
    with ThreadPoolExecutor(threads) as pool:
        digests = dict(zip(single, tqdm(pool.map(file_sha256, single), total=len(single), unit="file"), strict=True))
    contents = {}
    for path in places:
        if path in files:
            listing = {name: digests[file] for name, file in files[path].items()}
            size = sum(file.stat().st_size for file in files[path].values())
            contents[str(path)] = Content(listing_sha256(listing), size, listing)
        else:
            contents[str(path)] = Content(digests[path], path.stat().st_size)
    return contents


def find_results(folder: str | Path, rules: Sequence[Mapping]) -> dict[str, Job]:
    """The outputs of the run's rules that exist, and the job that made each.

    Args:
        folder: of the run; paths in `rules` start with it.
        rules: each with `name` and `outputs`, regular expressions that an output's path matches from the start.

    Returns:
        Job by path, sorted by path; an output folder is one entry. Files of no rule (logs, checkpoints, what an
        earlier config left) are not results.
    """
    patterns = [(re.compile(pattern), rule["name"]) for rule in rules for pattern in rule["outputs"]]
    results: dict[str, Job] = {}

    def visit(path: str) -> None:
        found = ((rule, match) for pattern, rule in patterns if (match := pattern.match(path)))
        if first := next(found, None):
            rule, match = first
            results[path] = Job(rule, tuple(sorted(match.groupdict().items())))
        elif os.path.isdir(path):
            for name in sorted(os.listdir(path)):
                visit(f"{path}/{name}")

    visit(Path(folder).as_posix())
    return results


def restore_records(kept: str | Path, folder: str | Path) -> None:
    """Write Snakemake's records of results that are there where it looks for them, unless it has some.

    Args:
        kept: the records by output path, as JSON; the file need not exist.
        folder: `.snakemake/metadata`.

    Raises:
        InputError: `kept` is damaged.
    """
    if not Path(kept).exists():
        return
    try:
        records = json.loads(Path(kept).read_text())
    except ValueError as error:
        raise InputError(f"{kept} is damaged: remove it, and it will be made again") from error
    for path, record in records.items():
        name = base64.b64encode(path.encode()).decode()
        parts = [name[start : start + NAME_LENGTH] for start in range(0, len(name), NAME_LENGTH)]
        file = Path(folder, *(f"@{part}" for part in parts[:-1]), parts[-1])
        if Path(path).exists() and not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(record))


def read_records(folder: str | Path) -> dict[str, dict]:
    """Snakemake's own records of finished jobs, by output path: inputs, and when the job began and ended.

    Args:
        folder: `.snakemake/metadata`; if it does not exist (metadata switched off, or kept in a database) there
            are none, and the crate says by which rule a file was made but not when.
    """
    records = {}
    for path in sorted(Path(folder).rglob("*")):
        if path.is_file():
            # The name is the output's path in base 64; a long one is spread over folders that begin with "@".
            encoded = "".join(part.removeprefix("@") for part in path.relative_to(folder).parts)
            records[base64.b64decode(encoded).decode()] = json.loads(path.read_text())
    return records


def checksum_list(contents: Mapping[str, Content], folder: str | Path) -> str:
    """Every single file under `folder` as a line for `sha256sum --check`, called in `folder`."""
    lines: dict[str, str] = {}
    for path, content in contents.items():
        if Path(path).is_relative_to(folder):
            name = Path(path).relative_to(folder).as_posix()
            inside = {name: content.sha256} if content.files is None else content.files
            lines |= inside if content.files is None else {f"{name}/{file}": sha for file, sha in inside.items()}
    return "".join(f"{sha}  {name}\n" for name, sha in sorted(lines.items()))
