"""Tables that are written whole and read in pieces."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from libretto import tables
from libretto.data.splits import merge_songs
from libretto.files import written_whole
from libretto.tables import TableWriter, read_rows, write_table

TABLE = pa.schema({"row": pa.int32(), "tokens": pa.list_(pa.int32()), "chunks": pa.list_(pa.list_(pa.uint16()))})


def table_row(number):
    tokens = np.arange(number, dtype=np.int32)
    return {"row": number, "tokens": tokens, "chunks": [tokens.astype(np.uint16), tokens[:2].astype(np.uint16)]}


def test_tables_come_back_over_many_row_groups(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "ROW_GROUP_BYTES", 100)
    write_table(tmp_path / "a.parquet", TABLE, [table_row(number) for number in range(50)])
    found = list(read_rows(tmp_path / "a.parquet"))
    assert [row["tokens"].tolist() for row in found] == [list(range(number)) for number in range(50)]
    assert found[7]["chunks"] == [list(range(7)), [0, 1]]
    assert [path.name for path in tmp_path.iterdir()] == ["a.parquet"]


def test_an_empty_table_has_its_columns(tmp_path):
    write_table(tmp_path / "a.parquet", TABLE, [])
    assert list(read_rows(tmp_path / "a.parquet")) == []
    assert pq.read_schema(tmp_path / "a.parquet").names == TABLE.names


def test_an_error_leaves_no_file_and_the_old_one_alone(tmp_path):
    (tmp_path / "old").write_text("old")

    def fail():
        with (
            written_whole(tmp_path / "old", tmp_path / "a.parquet") as (old, new),
            TableWriter(new, TABLE) as writer,
        ):
            old.write_text("half")
            writer.add(table_row(3))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"old": b"old"}


def test_songs_of_several_tables_come_in_order(tmp_path):
    numbers = [[0, 5, 6], [], [1, 2, 9]]
    paths = [tmp_path / f"{index}.parquet" for index in range(3)]
    for path, part in zip(paths, numbers, strict=True):
        write_table(path, TABLE, [table_row(number) for number in part])
    assert [found["row"] for found in merge_songs(paths)] == [0, 1, 2, 5, 6, 9]
