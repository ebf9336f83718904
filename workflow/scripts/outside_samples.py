"""Reads MIDI files that another program made for the test descriptions, writes them as if they were samples."""

from libretto.generation.outside import match_files, read_piece
from libretto.generation.samples import read_songs, write_samples
from libretto.job import start_job

start_job(snakemake)
params, system = snakemake.params, snakemake.wildcards.system
songs = read_songs(snakemake.input.test, params.n, ["lmd_id", "caption"])
files = match_files(snakemake.input.midi, [song["lmd_id"] for song in songs], f"systems.{system}.midi")
pieces = (read_piece(file, params.max_new_tokens) for file in files)
write_samples(songs, songs, pieces, snakemake.output.tokens, snakemake.output.midi)
