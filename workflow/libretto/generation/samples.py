"""The samples of a system: the table of their tokens, and a MIDI file for each that holds a valid event."""

import logging
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import mido
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from libretto.errors import InputError
from libretto.files import folder_sha256
from libretto.tables import CANDIDATE, SAMPLES, read_rows
from libretto.tokens.midi_writer import events_to_midi
from libretto.tokens.reference import valid_events

logger = logging.getLogger("libretto")


def read_songs(split: str | Path, n: int | None, columns: list[str]) -> list[dict]:
    """The first `n` songs of a Parquet split; all if `n` is None.

    Raises:
        InputError: there are fewer.
    """
    songs = list(islice(read_rows(split, columns), n))
    if n is not None and len(songs) < n:
        raise InputError(f"{split} has {len(songs)} songs: set sampling.n to at most {len(songs)}, not {n}")
    return songs


def write_samples(
    songs: list[dict], prompts: list[dict], pieces: Iterable[tuple], table: str | Path, midi: str | Path
) -> None:
    """Write the table and the MIDI files `midi/0000.mid`, ...; each says in a text event what it is, if found alone.

    Args:
        songs: `lmd_id` of each row's music.
        prompts: `lmd_id` and `caption` of each row's description.
        pieces: tokens without the start token, why they end, and of several candidates, which one it is.
        table: the Parquet file.
        midi: the folder; a row without a valid event has no file in it.
    """
    Path(midi).mkdir(parents=True, exist_ok=True)
    rows, schema = [], SAMPLES
    for index, (song, prompt, (ids, stop, *candidate)) in enumerate(zip(songs, prompts, pieces, strict=True)):
        tokens = np.asarray(ids, dtype=np.int32)
        events, n_invalid = valid_events(tokens)
        n_substituted = 0
        if len(events):
            file, n_substituted = events_to_midi(events)
            path = Path(midi, f"{index:04d}.mid")
            text = f"Libretto: {path.as_posix()}, for the description of {prompt['lmd_id'] or 'your own'}"
            file.tracks[0].insert(0, mido.MetaMessage("text", text=text))
            file.save(path)
        rows.append(
            {
                "index": index,
                "lmd_id": song["lmd_id"],
                "prompt_lmd_id": prompt["lmd_id"],
                "prompt": prompt["caption"],
                "tokens": tokens,
                "n_events": len(events),
                "n_invalid": n_invalid,
                "n_substituted": n_substituted,
                "stop": stop,
            }
        )
        if candidate:
            rows[-1][CANDIDATE.name], schema = candidate[0], SAMPLES.append(CANDIDATE)
    if substituted := sum(row["n_substituted"] for row in rows):
        logger.warning(
            "%d of %d notes are played by another instrument in the MIDI files: more than 15 melodic instruments sound "
            "at once, and MIDI has no more channels",
            substituted,
            sum(row["n_events"] for row in rows),
        )
    # What the MIDI files are, is told by the table: Snakemake compares contents of files, not of folders.
    pq.write_table(pa.Table.from_pylist(rows, schema.with_metadata({"midi_sha256": folder_sha256(midi)})), table)
