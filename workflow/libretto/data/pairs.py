"""Pairs of text and music: MidiCaps' rows joined with the songs of the Lakh MIDI Dataset (paper, section 5.2)."""

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath

import pyarrow as pa

from libretto.data.archive import MIDI_NAME
from libretto.errors import InputError
from libretto.tables import FEATURES, dropped_row

MAX_LINE = 4_000_000  # characters; MidiCaps' rows have 2,500 on average

# Control characters mean nothing to the models and have no place in HTML. Tabs and line breaks stay; those that
# separate words become spaces, the others are removed.
CONTROLS = {
    code: " " if chr(code).isspace() else None
    for code in (*range(0x20), *range(0x7F, 0xA0))
    if chr(code) not in "\t\n\r"
}


def read_midicaps(path: str | Path) -> Iterator[dict]:
    """The rows of MidiCaps' `train.json` (JSON lines), one after the other.

    Raises:
        InputError: a line is not a JSON object with `location` and `caption`, or has over 4 million characters.
    """
    with open(path, encoding="utf-8") as file:
        try:
            for number, line in enumerate(iter(lambda: file.readline(MAX_LINE + 1), ""), 1):
                yield _read_row(line, f"{path}, line {number}")
        except UnicodeDecodeError as error:
            raise InputError(f"{path}: not UTF-8 text ({error}); expected MidiCaps' train.json") from None


def _read_row(line: str, where: str) -> dict:
    if len(line) > MAX_LINE:
        raise InputError(f"{where}: over {MAX_LINE:,} characters; expected MidiCaps' train.json (JSON lines)")
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise InputError(f"{where}: not JSON ({error}); expected MidiCaps' train.json") from None
    except (ValueError, RecursionError) as error:  # a number with thousands of digits, thousands of nested brackets
        raise InputError(f"{where}: cannot be read ({error}); expected MidiCaps' train.json") from None
    if not isinstance(row, dict) or not isinstance(row.get("location"), str) or "caption" not in row:
        raise InputError(
            f"{where}: not a MidiCaps row with 'location' and 'caption'; expected MidiCaps' train.json (JSON lines)"
        )
    return row


def pair(
    rows: Iterable[dict], members: Iterable[dict], split_of: dict[str, str], drop: Callable[[dict], None]
) -> Iterator[dict]:
    """Join MidiCaps with the archive.

    Args:
        rows: MidiCaps' rows.
        members: the archive's members: `lmd_id`, `member`, `reason` (None for a song), as rule `shard` lists them.
        split_of: the split of each first hex digit; a row's own `split` wins.
        drop: called with a row of `DROPPED` for every member and every row of MidiCaps that is in no pair: each is in
            exactly one pair or one dropped row.

    Yields:
        Rows of `PAIRS`, in MidiCaps' order.
    """
    songs: dict[str, str] = {}
    refused: dict[str, dict] = {}
    for entry in members:
        if entry["reason"] is None:
            songs[entry["lmd_id"]] = entry["member"]
        elif entry["reason"] == "duplicate" or entry["lmd_id"] is None or entry["lmd_id"] in refused:
            drop(dropped_row("shard", entry["reason"], entry["lmd_id"], entry["member"]))
        else:
            refused[entry["lmd_id"]] = entry
    seen: set[str] = set()
    for number, row in enumerate(rows):
        match = MIDI_NAME.fullmatch(PurePosixPath(row["location"]).name)
        lmd_id = match and match[1]
        caption = _caption(row)
        if lmd_id in seen:
            drop(dropped_row("pair", "duplicate", lmd_id, None, number))
        elif lmd_id not in songs:
            if lmd_id in refused:
                entry = refused.pop(lmd_id)
                drop(dropped_row("shard", entry["reason"], lmd_id, entry["member"], number))
            else:
                drop(dropped_row("pair", "no-midi", lmd_id, None, number))
        else:
            seen.add(lmd_id)
            member = songs.pop(lmd_id)
            split = row.get("split", split_of.get(lmd_id[0]))
            if not caption:
                drop(dropped_row("pair", "no-caption", lmd_id, member, number))
            elif split not in split_of.values():
                drop(dropped_row("pair", "no-split", lmd_id, member, number))
            else:
                song = {"lmd_id": lmd_id, "split": split, "caption": caption}
                yield song | {"member": member, "row": number} | _features(row)
    for lmd_id, member in songs.items():
        drop(dropped_row("pair", "no-midicaps-row", lmd_id, member))
    for lmd_id, entry in refused.items():
        drop(dropped_row("shard", entry["reason"], lmd_id, entry["member"]))


def describe_prompts(rows: Iterable[dict], table: str | Path) -> Iterator[dict]:
    """Descriptions that take the place of the test set's, as pairs without a song.

    Args:
        rows: `caption`, and what else of MidiCaps' columns there is.
        table: where they are from, for errors.

    Yields:
        Rows of `PAIRS`: `lmd_id` is `prompt-0000`, `prompt-0001`, ...

    Raises:
        InputError: a caption is empty.
    """
    for number, row in enumerate(rows):
        caption = _caption(row)
        if not caption:
            raise InputError(f"{table}, row {number}: it has no caption; write one, or remove the row")
        prompt = {"lmd_id": f"prompt-{number:04d}", "split": "test", "caption": caption, "member": None, "row": number}
        yield prompt | _features(row)


def _caption(row: dict) -> str:
    return _text(row["caption"]).strip() if isinstance(row["caption"], str) else ""


def _features(row: dict) -> dict:
    return {name: _feature(row.get(name), kind) for name, kind in FEATURES.items()}


def _feature(value, kind: pa.DataType):
    """A MidiCaps value as its column's type; None if it has another type."""
    if pa.types.is_list(kind):
        return [_text(entry) for entry in value if isinstance(entry, str)] if isinstance(value, list) else None
    if pa.types.is_integer(kind):
        return round(value) if isinstance(value, int | float) and abs(value) < 2**31 - 1 else None
    return _text(value) if isinstance(value, str) else None


def _text(value: str) -> str:
    """A string without lone surrogates and control characters, both of which JSON can contain."""
    return value.encode("utf-8", "replace").decode().translate(CONTROLS)
