"""Reads a system's MIDI files and CLaMP 2, embeds every file for FMD, writes the embeddings."""

from pathlib import Path

from libretto.audio.embeddings.base import write_embeddings
from libretto.audio.embeddings.clamp2 import Clamp2
from libretto.job import start_job

log = start_job(snakemake)
clamp2 = Clamp2(snakemake.input.clamp2, snakemake.params.sha256)
files = {int(path.stem): path for path in Path(snakemake.input.midi).glob("*.mid")}
embeddings = clamp2.embed({index: files[index] for index in sorted(files)})
write_embeddings(embeddings, snakemake.output.embeddings)
log.info("%d MIDI files", len(embeddings))
