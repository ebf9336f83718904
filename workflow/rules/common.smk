"""The systems, the sources and the code hash, for all rule files."""

import atexit
import os
import re
import sys

from libretto.config.sources import STANDINS, check_sources, source_path, uses_standins
from libretto.config.systems import FAD_REFERENCE, systems
from libretto.failures import failures
from libretto.provenance.code_hash import code_hash

os.environ.update(
    # `snakemake` may be called by its path, without an activated environment: use `python` and `torchrun` beside it.
    PATH=os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", os.defpath)]),
    # Shell commands find the scripts here.
    LIBRETTO_SCRIPTS=os.path.join(LIBRARY_PATH, "scripts"),
    # Scripts and the processes that they start import the library from here.
    PYTHONPATH=os.pathsep.join(filter(None, [LIBRARY_PATH, os.environ.get("PYTHONPATH")])),
    # Less fragmentation of a GPU's memory, which Llama 3B nearly fills.
    PYTORCH_CUDA_ALLOC_CONF="expandable_segments:True",
    # Only the download rules touch the network.
    HF_HUB_OFFLINE="1",
    # A cache for this version of the code: numba's own would not notice a change in an imported module.
    NUMBA_CACHE_DIR=os.path.abspath(
        os.path.join(".snakemake", "numba", code_hash(os.path.join(LIBRARY_PATH, "libretto", "tokens", "compiled.py")))
    ),
    # The hash seed decides the order of sets: fixed, so that two runs give the same bytes.
    PYTHONHASHSEED="0",
)

if uses_standins(config) and not config["standins"]["gpu"]:
    os.environ.update(CUDA_VISIBLE_DEVICES="")

SYSTEMS = checked(systems, config)  # the table's rows
ALL_SYSTEMS = SYSTEMS | {FAD_REFERENCE.name: FAD_REFERENCE}
WITH_FAD = [name for name, system in SYSTEMS.items() if system.has_fad]
GENERATED = [name for name, system in SYSTEMS.items() if system.temperature is not None]


def one_of(names):
    """The wildcard constraint that a value is one of `names`."""
    return "|".join(map(re.escape, names)) or "(?!)"  # without names, nothing matches


wildcard_constraints:
    hex="[0-9a-f]",
    variant=one_of(config["variants"]),
    system=one_of(ALL_SYSTEMS),
    model=one_of(config["sources"]["models"]),


def code(script):
    """The content hash of a script and of what it imports, for the `params` of its rule."""
    return code_hash(os.path.join(LIBRARY_PATH, "scripts", script))


def source(name):
    """A function for `input:`: the file or folder of a source, its own `path:` or what a download rule makes."""
    return lambda wildcards: source_path(config, name, "<run>/sources")


# Only a real run stops here: a dry run of the shipped config works without the token and before the soundfont is there.
onstart:
    checked(check_writable, f"results/{config['run']}")
    files = {file for job in workflow.dag.needrun_jobs() for file in [*job.input, *job.output]}
    checked(check_sources, config, f"results/{config['run']}/sources", files)


# What users can do about it is printed last, below Snakemake's own messages about failed jobs.
onerror:
    if lines := failures(workflow.scheduler.failed, workflow.start_time):
        atexit.register(print, *lines, sep="\n", file=sys.stderr)
