"""Reads the training and test songs, writes a control, whose scores are known beforehand, as if it were samples."""

from libretto.generation.samples import read_songs, write_samples
from libretto.job import start_job
from libretto.scores.controls import control_pieces
from libretto.tables import read_rows

start_job(snakemake)
files, params = snakemake.input, snakemake.params
test = read_songs(files.test, params.n, ["lmd_id", "caption", "chunks"])
train = read_songs(files.train, params.n, ["lmd_id", "chunks"])
pairs = list(read_rows(files.pairs, ["lmd_id", "split", "instrument_summary"]))
tokens = control_pieces(params.control, train, test, pairs, params.share, params.seed)
music = train if params.control == "training-copy" else test
write_samples(music, test, ((piece, "end") for piece in tokens), snakemake.output.tokens, snakemake.output.midi)
