"""The Parquet tables: the schema of each, written in row groups of bounded size and read in pieces."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from libretto.files import written_whole

ROW_GROUP_BYTES = 8 << 20

# data/midi/{hex}.parquet: the archive's songs.
MIDI = pa.schema({"lmd_id": pa.string(), "member": pa.string(), "midi": pa.binary()})

# data/members.parquet: every member of the archive. `reason` says why one is dropped; None for a song.
MEMBERS = pa.schema({"lmd_id": pa.string(), "member": pa.string(), "bytes": pa.int64(), "reason": pa.string()})

# MidiCaps' columns that are kept, as its `train.json` names them.
FEATURES = {
    "genre": pa.list_(pa.string()),
    "mood": pa.list_(pa.string()),
    "key": pa.string(),
    "time_signature": pa.string(),
    "tempo": pa.int32(),
    "tempo_word": pa.string(),
    "duration": pa.int32(),
    "instrument_summary": pa.list_(pa.string()),
    "chord_summary": pa.list_(pa.string()),
}

# data/pairs.parquet. `row` is the number of the row in MidiCaps, from 0: its order is that of every table after this.
# data/test_prompts.parquet is the same without songs.
PAIRS = pa.schema(
    {
        "lmd_id": pa.string(),
        "split": pa.string(),
        "caption": pa.string(),
        "member": pa.string(),
        "row": pa.int32(),
        **FEATURES,
    }
)

# data/dropped.parquet and others: a member of the archive, a row of MidiCaps, or (where they were found to belong
# together) both.
DROPPED = pa.schema(
    {"lmd_id": pa.string(), "stage": pa.string(), "reason": pa.string(), "member": pa.string(), "row": pa.int32()}
)

# data/tokens/{hex}.parquet. `end_time` is the last onset in ticks; `tokens` are the whole song's, without a start
# token, onsets not bounded.
TOKENS = pa.schema(
    {
        "lmd_id": pa.string(),
        "split": pa.string(),
        "caption": pa.string(),
        "row": pa.int32(),
        "n_events": pa.int32(),
        "end_time": pa.int32(),
        "instruments": pa.list_(pa.uint8()),
        "midi_sha256": pa.string(),
        "tokens_sha256": pa.string(),
        "tokens": pa.list_(pa.int32()),
    }
)

# data/splits/{split}.parquet.
CHUNKS = pa.schema({"lmd_id": pa.string(), "caption": pa.string(), "chunks": pa.list_(pa.list_(pa.uint16()))})

# compose/prompts.parquet.
PROMPTS = pa.schema({"lmd_id": pa.string(), "caption": pa.string()})

# data/songs.parquet: a row per tokenized song. `dropped` is why it is in no split; `duplicate` says whether an
# earlier split has the same song, by its MIDI's bytes ("bytes") or else by its tokens ("tokens").
SONGS = pa.schema(
    {
        "lmd_id": pa.string(),
        "split": pa.string(),
        "row": pa.int32(),
        "n_events": pa.int32(),
        "end_time": pa.int32(),
        "instruments": pa.list_(pa.uint8()),
        "n_chunks": pa.int32(),
        "n_chunks_dropped": pa.int32(),
        "n_tokens": pa.int32(),
        "duplicate": pa.string(),
        "dropped": pa.string(),
        "background": pa.bool_(),
    }
)

# samples/{system}/tokens.parquet.
SAMPLES = pa.schema(
    {
        "index": pa.int32(),
        "lmd_id": pa.string(),  # of the music; for sampled music, of its description
        "prompt_lmd_id": pa.string(),
        "prompt": pa.string(),
        "tokens": pa.list_(pa.int32()),
        "n_events": pa.int32(),
        "n_invalid": pa.int32(),
        "n_substituted": pa.int32(),  # notes that another instrument plays in the MIDI file, for lack of channels
        "stop": pa.string(),
    }
)

# Its further column where several candidates were sampled for each description: which one was kept, from 0.
CANDIDATE = pa.field("candidate", pa.int32())

# metrics/{system}.parquet and scores.parquet: a row per sample and score. A score that is not defined for a sample has
# no row there.
SCORES = pa.schema(
    {
        "system": pa.string(),
        "index": pa.int32(),
        "prompt_lmd_id": pa.string(),
        "score": pa.string(),
        "value": pa.float64(),
    }
)

# embeddings/{system}/fad.parquet: a row per embedding, `index` being that of its clip; and clamp2.parquet: a row per
# MIDI file.
FAD_EMBEDDINGS = pa.schema({"index": pa.int32(), "embedding": pa.list_(pa.float32())})

# embeddings/{system}/clap.parquet: a row per clip; of its audio, an embedding per window.
CLAP_EMBEDDINGS = pa.schema(
    {"index": pa.int32(), "audio": pa.list_(pa.list_(pa.float32())), "text": pa.list_(pa.float32())}
)


def dropped_row(stage: str, reason: str, lmd_id: str | None, member: str | None = None, row: int | None = None) -> dict:
    """A row of `DROPPED`."""
    return {"lmd_id": lmd_id, "stage": stage, "reason": reason, "member": member, "row": row}


class TableWriter:
    """A Parquet file written row by row, in row groups of bounded size, so that memory stays bounded too."""

    def __init__(self, path: str | Path, schema: pa.Schema):
        self._schema = schema
        self._writer = pq.ParquetWriter(path, schema, compression="zstd")
        self._rows: list[dict] = []
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
