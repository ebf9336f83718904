"""Reads a system's MIDI files and CLaMP 2, embeds every file for FMD, writes the embeddings."""

from pathlib import Path

from libretto.audio.embeddings.base import write_embeddings
from libretto.audio.embeddings.clamp2 import Clamp2
from libretto.errors import InputError
from libretto.job import start_job
from libretto.tables import read_rows

log = start_job(snakemake)
midi, tokens = snakemake.input.midi, snakemake.input.tokens
files = {int(path.stem): path for path in Path(midi).glob("*.mid")}
n_expected = sum(row["n_events"] > 0 for row in read_rows(tokens, ["n_events"]))
if len(files) != n_expected:
    raise InputError(
        f"{midi} holds {len(files)} MIDI files, {tokens} tells of {n_expected}; remove the table, run again"
    )
clamp2 = Clamp2(snakemake.input.clamp2, snakemake.params.sha256)
embeddings = clamp2.embed({index: files[index] for index in sorted(files)})
write_embeddings(embeddings, snakemake.output.embeddings)
log.info("%d MIDI files", len(embeddings))
