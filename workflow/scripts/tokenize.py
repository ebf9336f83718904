"""Reads the MIDI of one first hex digit, tokenizes the songs that have a caption, writes them in MidiCaps' order."""

import logging
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np
from tqdm import tqdm

from libretto.data.tokenization import tokenize_song
from libretto.files import written_whole
from libretto.job import start_job
from libretto.tables import DROPPED, TOKENS, TableWriter, dropped_row, read_rows, write_table


def main(midi, pairs, digit, tokens_path, dropped_path):
    columns = ["lmd_id", "split", "caption", "member", "row"]
    wanted = {song["lmd_id"]: song for song in read_rows(pairs, columns) if song["lmd_id"][0] == digit}
    songs, drops = [], []
    # Tokens wait in a file, because the archive's order is not MidiCaps' and a digit's songs need not fit into memory.
    with TemporaryFile(dir=Path(tokens_path).parent) as waiting, written_whole(tokens_path) as (part,):
        for file in tqdm(read_rows(midi, ["lmd_id", "midi"]), desc=f"songs {digit}", unit=" files", mininterval=5):
            song = wanted.get(file["lmd_id"])
            if song is None:
                continue
            result = tokenize_song(file["midi"])
            if isinstance(result, str):
                drops.append(dropped_row("tokenize", result, song["lmd_id"], song["member"], song["row"]))
            else:
                result.pop("tokens").tofile(waiting)
                songs.append(song | result)
        write_in_order(songs, waiting, part)
    write_table(dropped_path, DROPPED, sorted(drops, key=lambda drop: drop["row"]))
    logging.info("%d songs tokenized, %d dropped", len(songs), len(drops))


def write_in_order(songs, waiting, path):
    starts = np.cumsum([0] + [3 * 4 * song["n_events"] for song in songs])
    with TableWriter(path, TOKENS) as writer:
        for index in sorted(range(len(songs)), key=lambda index: songs[index]["row"]):
            waiting.seek(starts[index])
            writer.add(songs[index] | {"tokens": np.fromfile(waiting, np.int32, 3 * songs[index]["n_events"])})


start_job(snakemake)
main(
    snakemake.input.midi,
    snakemake.input.pairs,
    snakemake.wildcards.hex,
    snakemake.output.tokens,
    snakemake.output.dropped,
)
