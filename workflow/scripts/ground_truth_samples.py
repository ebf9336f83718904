"""Reads the test songs, or those of FAD's reference set, writes their middle chunks as if they were samples."""

from libretto.config.systems import RANDOM_TEXT
from libretto.data.middle import middle_chunk
from libretto.generation.samples import read_songs, write_samples
from libretto.job import start_job
from libretto.seeds import derangement, stable_seed

start_job(snakemake)
system = snakemake.wildcards.system
songs = read_songs(snakemake.input.songs, snakemake.params.n, ["lmd_id", "caption", "chunks"])
prompts = songs
if system == RANDOM_TEXT:
    prompts = [songs[i] for i in derangement(len(songs), stable_seed(snakemake.params.seed, system))]
pieces = ((middle_chunk(song["chunks"])[1:], "end") for song in songs)
write_samples(songs, prompts, pieces, snakemake.output.tokens, snakemake.output.midi)
