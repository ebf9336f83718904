"""Tables of descriptions of the user's own: of the songs of a corpus, or in place of the test set's."""

import csv
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from libretto.errors import InputError
from libretto.tables import FEATURES, read_rows

COLUMNS = ("file", "caption", "split", *FEATURES)


def read_descriptions(table: str | Path, required: Sequence[str]) -> list[dict]:
    """The rows of a .csv (UTF-8) or .parquet table.

    Args:
        table: its path.
        required: columns that it must have.

    Returns:
        For each row, counted from 0, what the table has of `file`, `caption`, `split` and MidiCaps' `FEATURES`; these
        in their types. In a CSV, commas separate the entries of lists.

    Raises:
        InputError: the table cannot be read, lacks a column, or has no rows; or says which row is wrong.
    """
    read = _read_parquet if str(table).endswith(".parquet") else _read_csv
    columns, rows = read(table)
    if missing := [name for name in required if name not in columns]:
        raise InputError(f"{table} has no column '{missing[0]}', but: {', '.join(columns) or 'none'}; rename it")
    if not rows:
        raise InputError(f"{table} has no rows; add one for each description")
    return [_read_row(row, f"{table}, row {number}") for number, row in enumerate(rows)]


def _read_csv(path: str | Path) -> tuple[list[str], list[dict]]:
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            return list(reader.fieldnames or []), list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is not CSV in UTF-8 ({error}); save it as such") from None


def _read_parquet(path: str | Path) -> tuple[list[str], list[dict]]:
    try:
        columns = pq.read_schema(path).names
        return columns, list(read_rows(path, [name for name in COLUMNS if name in columns]))
    except pa.ArrowException as error:
        raise InputError(f"{path} is not a Parquet table ({error}); write it again") from None


def _read_row(row: dict, where: str) -> dict:
    if None in row:  # where DictReader puts what is left over
        raise InputError(f"{where}: more values than columns; put quotes around captions that have commas")
    features = {name: _feature(row[name], kind, f"{where}: {name}") for name, kind in FEATURES.items() if name in row}
    return {name: row[name] for name in COLUMNS if name in row} | features


def _feature(value, kind: pa.DataType, where: str):
    """A value of its column's type, which a CSV has as text; None for an empty one."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    try:
        if pa.types.is_list(kind):
            if isinstance(value, str) and value.lstrip().startswith("["):
                raise InputError(f"{where} is {value!r}; write the names alone, with commas between them")
            entries = value.split(",") if isinstance(value, str) else value
            return [entry.strip() for entry in entries if entry.strip()]
        return float(value) if pa.types.is_integer(kind) else value.strip()
    except (AttributeError, TypeError, ValueError):
        wanted = "names" if pa.types.is_list(kind) else "a number" if pa.types.is_integer(kind) else "text"
        raise InputError(f"{where} is {value!r}, not {wanted}; correct it, or leave it empty") from None
