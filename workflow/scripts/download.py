"""Reads nothing, downloads a source's file, or a model's folder, and writes it once it is whole and verified."""

import os
from pathlib import Path

from libretto.data.download import download_file, download_model
from libretto.files import folder_sha256
from libretto.job import start_job

start_job(snakemake)
os.environ.pop("HF_HUB_OFFLINE", None)
download = download_model if snakemake.output.get("folder") else download_file
download(snakemake.params.entry, Path(snakemake.output[0]), snakemake.params.key)
if snakemake.output.get("folder"):
    Path(snakemake.output.sha256).write_text(folder_sha256(snakemake.output.folder) + "\n")
