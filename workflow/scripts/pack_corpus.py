"""Reads MIDI files and a table of their descriptions, writes them in the formats of LMD and MidiCaps."""

from libretto.data.packing import pack_corpus
from libretto.files import written_whole
from libretto.job import start_job

start_job(snakemake)
with written_whole(snakemake.output.archive, snakemake.output.captions) as (archive, captions):
    pack_corpus(snakemake.input.midi, snakemake.input.descriptions, archive, captions)
