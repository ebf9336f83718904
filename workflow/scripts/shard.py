"""Reads the Lakh MIDI Dataset's tar.gz once, checks its members, writes the files by first hex digit and a list."""

import logging
from contextlib import ExitStack
from pathlib import Path

from tqdm import tqdm

from libretto.data.archive import read_archive
from libretto.files import written_whole
from libretto.job import start_job
from libretto.tables import MEMBERS, MIDI, TableWriter


def main(archive, shards, members):
    with written_whole(*shards.values(), members) as (*parts, members_part), ExitStack() as open_files:
        writers = {
            digit: open_files.enter_context(TableWriter(part, MIDI)) for digit, part in zip(shards, parts, strict=True)
        }
        member_writer = open_files.enter_context(TableWriter(members_part, MEMBERS))
        songs = refused = 0
        for member in tqdm(read_archive(archive), desc="members", unit=" files", mininterval=5):
            row = {"lmd_id": member.lmd_id, "member": member.name, "reason": member.reason, "bytes": None}
            if member.midi is None:
                refused += 1
            else:
                songs += 1
                row["bytes"] = len(member.midi)
                writers[member.lmd_id[0]].add({"lmd_id": member.lmd_id, "member": member.name, "midi": member.midi})
            member_writer.add(row)
    logging.info("%d songs, %d members refused", songs, refused)


start_job(snakemake)
main(snakemake.input.archive, {Path(path).stem: path for path in snakemake.output.midi}, snakemake.output.members)
