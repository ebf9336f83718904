"""Reads a system's audio and the embedding's weights, embeds every clip for FAD, writes the embeddings."""

from libretto.audio.embeddings import make_embedder
from libretto.audio.embeddings.base import embed_files, write_embeddings
from libretto.audio.manifest import audible_files, read_renderings
from libretto.job import start_job

log = start_job(snakemake)
embedder = make_embedder(snakemake.params.embedding, snakemake.input.weights, snakemake.params.sha256)
files = audible_files(snakemake.input.audio, read_renderings(snakemake.input.list))
embeddings = embed_files(embedder, files, snakemake.threads)
write_embeddings(embeddings, snakemake.output.embeddings)
log.info("%s: %d embeddings of %d clips", embedder.name, sum(map(len, embeddings.values())), len(embeddings))
