"""Reads nothing, composes the demo's songs, writes them as LMD's archive with MidiCaps' rows."""

from libretto.files import written_whole
from libretto.job import start_job
from libretto.standins.corpus import compose_corpus, write_archive, write_captions

log = start_job(snakemake)
files = compose_corpus(snakemake.params.songs, snakemake.params.seed)
with written_whole(snakemake.output.archive, snakemake.output.captions) as (archive, captions):
    write_archive(files, archive)
    write_captions(files, snakemake.params.seed, captions)
log.info("%d songs and %d files to be dropped", snakemake.params.songs, len(files) - snakemake.params.songs)
