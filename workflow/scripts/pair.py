"""Reads MidiCaps and the archive's list of members, joins them, writes the pairs and what is in none."""

import logging

from tqdm import tqdm

from libretto.data.pairs import pair, read_midicaps
from libretto.errors import InputError
from libretto.files import written_whole
from libretto.job import start_job
from libretto.tables import DROPPED, PAIRS, TableWriter, read_rows


def main(midicaps, members, splits, pairs_path, unpaired_path):
    split_of = {digit: split for split, digits in splits.items() for digit in digits}
    with (
        written_whole(pairs_path, unpaired_path) as (pairs_part, unpaired_part),
        TableWriter(pairs_part, PAIRS) as pairs,
        TableWriter(unpaired_part, DROPPED) as unpaired,
    ):
        rows = tqdm(read_midicaps(midicaps), desc="captions", unit=" rows", mininterval=5)
        count = 0
        for song in pair(rows, read_rows(members, ["lmd_id", "member", "reason"]), split_of, unpaired.add):
            pairs.add(song)
            count += 1
        if not count:
            raise InputError(
                f"no caption of {midicaps} has its MIDI file in the archive: are sources.lmd and sources.midicaps the "
                "Lakh MIDI Dataset (lmd_full) and MidiCaps?"
            )
    logging.info("%d pairs of text and music", count)


start_job(snakemake)
main(
    snakemake.input.midicaps,
    snakemake.input.members,
    snakemake.params.splits,
    snakemake.output.pairs,
    snakemake.output.unpaired,
)
