"""Reads a system's audio, its descriptions and CLAP, embeds both, writes a row per clip: its windows and its text."""

import pyarrow as pa
import pyarrow.parquet as pq

from libretto.audio.embeddings.base import embed_files
from libretto.audio.embeddings.clap import Clap
from libretto.audio.manifest import audible_files, read_renderings
from libretto.job import start_job
from libretto.tables import CLAP_EMBEDDINGS, read_rows

log = start_job(snakemake)
clap = Clap(snakemake.input.clap, snakemake.input.roberta, snakemake.params.sha256)
files = audible_files(snakemake.input.audio, read_renderings(snakemake.input.list))
clips = embed_files(clap, files, snakemake.threads)
prompts = {row["index"]: row["prompt"] for row in read_rows(snakemake.input.tokens, ["index", "prompt"])}
texts = clap.embed_texts([prompts[index] for index in clips]) if clips else []
columns = {"index": list(clips), "audio": [list(rows) for rows in clips.values()], "text": list(texts)}
pq.write_table(pa.table(columns, CLAP_EMBEDDINGS), snakemake.output.embeddings)
log.info("%d clips and descriptions", len(clips))
