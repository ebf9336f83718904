"""Reads the tokenized songs in MidiCaps' order, cuts them into chunks, writes the splits and each song's fate."""

import logging
from collections import Counter
from contextlib import ExitStack

from tqdm import tqdm

from libretto.data.splits import SPLITS, assign_splits, find_duplicates, merge_songs
from libretto.errors import InputError
from libretto.files import written_whole
from libretto.job import start_job
from libretto.tables import CHUNKS, DROPPED, SONGS, TableWriter, dropped_row, read_rows

MIN_SONGS = 2  # per split: each song also gets another one's description
MAX_DROPPED_SHARE = 0.01  # of all chunks; the paper's length loses 0.2 %


def main(files, params, output):
    digests = ["lmd_id", "split", "midi_sha256", "tokens_sha256"]
    duplicates = find_duplicates(song for path in files.tokens for song in read_rows(path, digests))
    members = {song["lmd_id"]: song["member"] for song in read_rows(files.pairs, ["lmd_id", "member"])}
    names = (*SPLITS, "background")
    targets = [*(output[name] for name in names), output.songs, output.dropped]
    with written_whole(*targets) as (*parts, songs_part, dropped_part), ExitStack() as open_files:
        tables = {
            name: open_files.enter_context(TableWriter(part, CHUNKS)) for name, part in zip(names, parts, strict=True)
        }
        songs = open_files.enter_context(TableWriter(songs_part, SONGS))
        drops = open_files.enter_context(TableWriter(dropped_part, DROPPED))
        for path in (files.unpaired, *files.dropped):
            for drop in read_rows(path):
                drops.add(drop)
        merged = tqdm(merge_songs(files.tokens), desc="songs", unit=" songs", mininterval=5)
        counts = Counter()
        lengths = params.chunk_tokens, params.long_chunks
        for song in assign_splits(merged, *lengths, params.cuts, params.background, duplicates, params.deduplicate):
            songs.add(song)
            counts["chunks"] += song["n_chunks"]
            counts["chunks dropped"] += song["n_chunks_dropped"]
            if song["dropped"]:
                drops.add(dropped_row("split", song["dropped"], song["lmd_id"], members[song["lmd_id"]], song["row"]))
            else:
                tables[song["split"]].add(song)
                counts[song["split"]] += 1
            if song["background"]:
                tables["background"].add(song)
                counts["background"] += 1
        if few := [name for name in SPLITS if counts[name] < MIN_SONGS]:
            raise InputError(f"fewer than {MIN_SONGS} songs for {few[0]}: give a larger archive, or other data.splits")
    if (share := counts["chunks dropped"] / (counts["chunks"] + counts["chunks dropped"])) > MAX_DROPPED_SHARE:
        logging.warning("%.0f %% of the chunks span 100 s or more and are dropped: see data.long_chunks", 100 * share)
    if (n_background := counts["background"]) < params.background:
        logging.warning("FAD's reference set has %d songs, not %d: there are no more", n_background, params.background)
    logging.info("%d songs in two splits: %s", len(duplicates), "dropped" if params.deduplicate else "kept")


start_job(snakemake)
main(snakemake.input, snakemake.params, snakemake.output)
