"""Reads nothing, downloads a model's folder from the hub, writes it once it is whole and verified."""

import os
from pathlib import Path

from libretto.data.download import download_model
from libretto.log import start_log


def main():
    start_log(snakemake.log[0])
    os.environ.pop("HF_HUB_OFFLINE", None)
    download_model(snakemake.params.entry, Path(snakemake.output.folder), snakemake.params.key)


main()
