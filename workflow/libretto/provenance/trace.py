"""Where a result came from: the jobs and files that led to it, down to sources, by the run's records."""

import csv
import html
from collections.abc import Iterable, Iterator
from pathlib import Path

from libretto.errors import InputError
from libretto.provenance.audit import Run

LINE, INDENT = 18, 22  # pixels of the figure
FEW = 4  # files of a kind and folder; of more, one is followed


def trace(path: str | Path, system: str | None = None, column: str | None = None) -> Iterator[tuple[int, str]]:
    """The tree from a result down to sources, as depth and text.

    Args:
        path: of a result in a run's folder, such as results/demo/table.csv.
        system: a row of the table: the table's other rows are not followed.
        column: of the table, whose figure is told.

    Raises:
        InputError: the file is not in a run, or no job made it.
    """
    path = Path(path)
    folder = next((parent for parent in path.parents if (parent / "records").is_dir()), None)
    if folder is None:
        raise InputError(f"{path} is in no run's folder: name one such as results/demo/table.csv")
    run = Run(folder)
    start = f"{run.name}/{path.relative_to(folder).as_posix()}"
    if start not in run.records.made:
        raise InputError(f"{path}: no job of the run made it")
    others: set[str] = set()
    if system:
        rows = _rows(path)
        if system not in rows or column not in {None, *rows[system]}:
            raise InputError(f"{path} has no {column or 'row'} of {system}")
        others = rows.keys() - {system}
        if column:
            yield 0, f"{column} of {system}: {rows[system][column]}"
    elif column:
        raise InputError(f"which row's {column}? Name it by --system")
    yield from _tree(run, start, others, 0, set())


def _rows(path: Path) -> dict[str, dict]:
    if path.suffix != ".csv":
        raise InputError(f"{path} has no rows of systems: name table.csv")
    with open(path, newline="") as file:
        return {row["system"]: row for row in csv.DictReader(file)}


def _tree(run: Run, path: str, others: set[str], depth: int, seen: set) -> Iterator[tuple[int, str]]:
    record = run.records.of(path)
    digest = record["outputs"][path] if record else run.digest(path)
    yield depth, f"{path}  sha256 {(digest or 'unknown: it is not here')[:16]}"
    if record is None:
        return
    again = record["started"], record["rule"], *record["outputs"]
    job = f"{record['rule']} on {record['host']}, {record['started']} to {record['ended']}"
    if again in seen:
        yield depth + 1, f"{job} (see above)"
        return
    seen.add(again)
    commit = (record["commit"]["id"] or "no commit")[:12] + (" with changes" if record["commit"]["changes"] else "")
    yield depth + 1, f"{job}, commit {commit}, environment {record['environment']}"
    if told := {key: value for key, value in record["params"].items() if key in ("seed", "code", "temperature")}:
        yield depth + 1, ", ".join(f"{key} {value}" for key, value in sorted(told.items()))
    if entry := record["params"].get("entry"):
        yield depth + 1, ", ".join(f"{key} {value}" for key, value in sorted(entry.items()))
    kinds: dict[tuple[str, str], list[str]] = {}
    for name in sorted(record["inputs"]):
        if Path(name).stem not in others:
            kinds.setdefault((str(Path(name).parent), name.partition(".")[2]), []).append(name)
    for names in kinds.values():
        followed = names if len(names) <= FEW else names[:1]  # of the data's shards, one
        for name in followed:
            yield from _tree(run, name, set(), depth + 1, seen)
        if len(names) > len(followed):
            yield depth + 1, f"and {len(names) - len(followed)} more like it"


def to_text(lines: Iterable[tuple[int, str]]) -> str:
    """The tree as text, indented."""
    return "".join(f"{'  ' * depth}{text}\n" for depth, text in lines)


def to_svg(lines: Iterable[tuple[int, str]]) -> str:
    """The tree as a figure: a line for each file and job, joined to what it led to."""
    rows, parts = list(lines), []
    last: dict[int, int] = {}
    for number, (depth, text) in enumerate(rows):
        x, y = 10 + INDENT * depth, LINE * (number + 1)
        if depth and depth - 1 in last:
            top, left = last[depth - 1] + 4, x - INDENT + 5
            parts.append(f'<path d="M{left} {top}V{y - 4}H{x - 3}" fill="none" stroke="#8a949c"/>')
        last[depth] = y
        parts.append(f'<text x="{x}" y="{y}">{html.escape(text)}</text>')
    width = max(10 + INDENT * depth + 7 * len(text) for depth, text in rows) + 10
    size = f'width="{width}" height="{LINE * (len(rows) + 1)}"'
    style = 'font-family="monospace" font-size="11" fill="#24292f"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>\n' + "\n".join(parts) + "\n</svg>\n"
