"""Reads nothing, downloads the one file of a source from a URL or the hub, writes it once it is whole and verified."""

import os
from pathlib import Path

from libretto.data.download import download_file
from libretto.log import start_log


def main():
    start_log(snakemake.log[0])
    os.environ.pop("HF_HUB_OFFLINE", None)
    download_file(snakemake.params.entry, Path(snakemake.output.file), snakemake.params.key)


main()
