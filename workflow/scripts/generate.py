"""Reads a model (a variant, AMT as published, or of others) and the test descriptions, samples a piece for each.

Batches are kept as they are finished; an interrupted generation resumes after them when it is called again.
"""

from pathlib import Path

from libretto.files import inputs_hash, remove
from libretto.generation.samples import read_songs, write_samples
from libretto.generation.selection import FEATURES, keep_best
from libretto.imports import lean_imports
from libretto.job import start_job
from libretto.lock import locked
from libretto.tables import read_rows

with lean_imports():
    from libretto.generation.sampling import load_generator, sample
    from libretto.models.device import select_device

start_job(snakemake)
params = snakemake.params
device = select_device()
files = snakemake.input
generator = load_generator(
    files.model, files.get("text_model", ""), params.settings, params.sampling["guidance"], device
)
songs = read_songs(files.test, params.sampling["n"], ["lmd_id", "caption"])
captions = [song["caption"] for song in songs]
system, batches = snakemake.wildcards.system, Path(params.batches)
# Named by a hash of everything that the tokens depend on.
settings = {"system": system, "device": device.type, **dict(params.items())}
folder = batches / inputs_hash(settings, list(files))
folder.mkdir(parents=True, exist_ok=True)
with locked(batches):
    pieces = sample(generator, captions, params.sampling, params.temperature, params.seed, system, folder)
    if params.sampling["best_of"] > 1:
        known = {row["lmd_id"]: row for path in files.pairs for row in read_rows(path, ["lmd_id", *FEATURES])}
        pieces = keep_best(pieces, [known[song["lmd_id"]] for song in songs], params.sampling["best_of"])
    write_samples(songs, songs, pieces, snakemake.output.tokens, snakemake.output.midi)
    remove(batches)
