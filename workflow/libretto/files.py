"""Files and Parquet tables that appear under their names only when they are complete, and that are read in pieces."""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ROW_GROUP_BYTES = 8 << 20

logger = logging.getLogger("libretto")


@contextmanager
def written_whole(*paths: str | Path) -> Iterator[list[Path]]:
    """Temporary names beside `paths`: all renamed at the end, or removed after an error."""
    paths = [Path(path) for path in paths]
    parts = [path.with_name(f"{path.name}.part") for path in paths]
    try:
        yield parts
        for part, path in zip(parts, paths, strict=True):
            os.replace(part, path)
    except OSError as error:
        if error.filename is None:  # a write does not say where
            error.filename = os.path.commonpath(paths)
        raise
    finally:
        for part in parts:
            part.unlink(missing_ok=True)


def file_sha256(path: str | Path) -> str:
    """The SHA-256 of a file's content, as 64 hex digits; read in pieces."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def inputs_hash(settings: dict, inputs: list[str | Path]) -> str:
    """A hash of settings and of the contents of files: it names a training's folder, and a generation's.

    What was interrupted is resumed only from a folder that was written with the same settings and inputs.

    Args:
        settings: anything that JSON can hold.
        inputs: files, or folders of files.

    Returns:
        16 hex digits.
    """
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for number, path in enumerate(map(Path, inputs)):
        files = sorted(f for f in path.rglob("*") if f.is_file()) if path.is_dir() else [path]
        for file in files:
            digest.update(f"\0{number}\0{file.relative_to(path)}\0{file_sha256(file)}".encode())
    return digest.hexdigest()[:16]


def remove(path: Path) -> None:
    """Remove a file or a folder as far as possible: on NFS, open files cannot be removed, which is not an error."""

    def warn(path, error):
        logger.warning("%s cannot be removed: %s", path, error)

    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, onerror=lambda function, path, error: warn(path, error[1]))
    else:
        try:
            path.unlink()
        except OSError as error:
            warn(path, error)


def follow_umask(folder: str | Path) -> None:
    """Give a saved model's weights the mode of its config: safetensors writes 0600, which only their owner can read."""
    for weights in Path(folder).glob("*.safetensors"):
        shutil.copymode(weights.with_name("config.json"), weights)


class TableWriter:
    """A Parquet file written row by row, in row groups of bounded size, so that memory stays bounded too."""

    def __init__(self, path: str | Path, schema: pa.Schema):
        self._schema = schema
        self._writer = pq.ParquetWriter(path, schema, compression="zstd")
        self._rows = []
        self._bytes = 0

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        if kind is None and self._rows:
            self._flush()
        self._writer.close()

    def add(self, row: dict) -> None:
        """Append one row: the values that the schema names; its arrays may be NumPy's."""
        row = {name: row[name] for name in self._schema.names}
        self._rows.append(row)
        self._bytes += sum(_size(value) for value in row.values())
        if self._bytes >= ROW_GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        columns = [pa.array([row[field.name] for row in self._rows], field.type) for field in self._schema]
        self._writer.write_table(pa.table(columns, schema=self._schema))
        self._rows = []
        self._bytes = 0


def _size(value) -> int:
    """Roughly how many bytes a value takes."""
    if isinstance(value, np.ndarray):
        return value.nbytes
    if isinstance(value, (bytes, str)):
        return len(value)
    if isinstance(value, list):
        return sum(_size(entry) for entry in value)
    return 8


def read_rows(path: str | Path, columns: list[str] | None = None) -> Iterator[dict]:
    """The rows of a Parquet file, a row group in memory at a time; lists of integers come as NumPy arrays."""
    with pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            for batch in file.read_row_group(group, columns, use_threads=False).to_batches():
                values = {name: _values(batch.column(name)) for name in batch.schema.names}
                for index in range(batch.num_rows):
                    yield {name: column[index] for name, column in values.items()}


def _values(column: pa.Array) -> list:
    if pa.types.is_list(column.type) and pa.types.is_integer(column.type.value_type):
        return [scalar.values.to_numpy() if scalar.is_valid else None for scalar in column]
    return column.to_pylist()


def write_table(path: str | Path, schema: pa.Schema, rows: list[dict]) -> None:
    """A small table, whole."""
    with written_whole(path) as (part,), TableWriter(part, schema) as writer:
        for row in rows:
            writer.add(row)
