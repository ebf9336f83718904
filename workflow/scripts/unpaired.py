"""Reads the songs without a caption, tokenizes them and cuts them into chunks, writes them as a training split.

Writes the validation songs without their captions beside it, and what became of the other songs.
"""

import logging

from tqdm import tqdm

from libretto.data.unpaired import uncaptioned, unpaired_chunks
from libretto.errors import InputError
from libretto.files import written_whole
from libretto.job import start_job
from libretto.tables import CHUNKS, DROPPED, TableWriter, dropped_row, read_rows


def main(files, params, output):
    members = uncaptioned(read_rows(files.unpaired))
    songs = (song for path in files.tokens for song in read_rows(path, ["split", "tokens_sha256"]))
    held_out = {song["tokens_sha256"] for song in songs if song["split"] != "train"}
    n_songs = 0
    with (
        written_whole(output.train, output.valid, output.dropped) as (train_part, valid_part, dropped_part),
        TableWriter(train_part, CHUNKS) as train,
        TableWriter(valid_part, CHUNKS) as valid,
        TableWriter(dropped_part, DROPPED) as dropped,
    ):
        shards = (file for path in files.midi for file in read_rows(path, ["lmd_id", "midi"]))
        for file in tqdm(shards, desc="songs", unit=" files", mininterval=5):
            lmd_id = file["lmd_id"]
            if lmd_id not in members:
                continue
            member = members.pop(lmd_id)
            chunks = unpaired_chunks(file["midi"], held_out, params.chunk_tokens, params.long_chunks)
            if isinstance(chunks, str):
                dropped.add(dropped_row("unpaired", chunks, lmd_id, member))
            else:
                train.add({"lmd_id": lmd_id, "caption": None, "chunks": chunks})
                n_songs += 1
        for lmd_id, member in members.items():  # their digits are those of other splits
            dropped.add(dropped_row("unpaired", "not-train", lmd_id, member))
        for song in read_rows(files.valid):
            valid.add(song | {"caption": None})
        if not n_songs:
            raise InputError("the archive has no usable song without a caption: leave out `songs: unpaired`")
    logging.info("%d songs without a caption", n_songs)


start_job(snakemake)
main(snakemake.input, snakemake.params, snakemake.output)
