"""The library's path and the config: config.yaml and what extends it, checked before any rule reads it."""

import os
import sys

from snakemake.logging import logger

LIBRARY_PATH = os.path.join(workflow.basedir, "workflow")
sys.path.insert(0, LIBRARY_PATH)

from libretto.config.checks import (
    check_config,
    check_consistency,
    check_files,
    check_positions,
    drop_nulls,
    fill_defaults,
    sort_keys,
)
from libretto.disk import check_writable
from libretto.errors import InputError


def checked(function, *arguments):
    """The function's result; an `InputError` ends Snakemake with its one line."""
    try:
        return function(*arguments)
    except InputError as error:
        logger.error(f"Error: {error}")
        sys.exit(1)


if not os.path.exists(".snakemake"):  # which Snakemake is about to create
    checked(check_writable, ".")
checked(check_files, filter(os.path.exists, [*workflow.configfiles, "config.yaml"]))


configfile: "config.yaml"


drop_nulls(config)
checked(check_config, config)
fill_defaults(config)
checked(check_consistency, config)
if workflow.is_main_process:
    checked(check_positions, config)
sort_keys(config)
