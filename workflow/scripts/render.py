"""Reads a system's MIDI files and the soundfont, renders them, writes FLAC files and a list of them."""

from libretto.audio.manifest import write_renderings
from libretto.audio.render import render_folder
from libretto.job import start_job

log = start_job(snakemake)
renderings = render_folder(
    snakemake.input.midi,
    snakemake.output.audio,
    snakemake.input.soundfont,
    snakemake.params.sample_rate,
    snakemake.params.trim_db,
    snakemake.threads,
)
write_renderings(renderings, snakemake.output.list)
silent = [rendering.index for rendering in renderings if not rendering.is_audible]
log.info("%d of %d MIDI files rendered; without a sound: %s", len(renderings) - len(silent), len(renderings), silent)
