"""The systems, the sources and the code hash, for all rule files."""

import atexit
import os
import re
import sys

from libretto.config.digests import DIGESTS, content_digest
from libretto.config.resources import sampling_mb, training_mb, training_minutes
from libretto.config.sources import STANDINS, check_sources, own_paths, read_path, source_path, uses_standins
from libretto.config.systems import FAD_REFERENCE, systems
from libretto.failures import failures
from libretto.leftovers import check_none_left
from libretto.provenance.code_hash import code_hash
from libretto.provenance.results import restore_records

# What results depend on: another hash seed is another order of sets, and with it other bytes.
RESULTS_DEPEND_ON = {"PYTHONHASHSEED": "0"}

os.environ.update(
    RESULTS_DEPEND_ON,
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
)

# Results that were copied without `.snakemake`: without its records, Snakemake would not notice changed parameters.
if workflow.is_main_process:
    checked(restore_records, f"results/{config['run']}/provenance/metadata.json", ".snakemake/metadata")

if uses_standins(config) and not config["standins"]["gpu"]:
    os.environ.update(CUDA_VISIBLE_DEVICES="")

OWN_PATHS = own_paths(config)
SYSTEMS = checked(systems, config)  # the table's rows
ALL_SYSTEMS = SYSTEMS | {FAD_REFERENCE.name: FAD_REFERENCE}
WITH_FAD = [name for name, system in SYSTEMS.items() if system.has_fad]
# The descriptions that music is sampled for, and what is known about those and the songs.
DESCRIPTIONS, PAIRS = "<run>/data/splits/test.parquet", ["<run>/data/pairs.parquet"]
if "test_prompts" in config["sources"]:
    DESCRIPTIONS = "<run>/data/test_prompts.parquet"
    PAIRS.append(DESCRIPTIONS)
GENERATED = [name for name, system in SYSTEMS.items() if system.temperature is not None]


def one_of(names):
    """The wildcard constraint that a value is one of `names`."""
    return "|".join(map(re.escape, names)) or "(?!)"  # without names, nothing matches


wildcard_constraints:
    hex="[0-9a-f]",
    variant=one_of(config["variants"]),
    system=one_of(ALL_SYSTEMS),
    model=one_of(config["sources"]["models"]),


def code(script, shell="", unused=()):
    """The content hash of a script, of what it imports, and of what else decides its results, for its rule's `params`.

    Of what it imports, `unused` are modules that the job does not call.
    """
    environment = [f"{name}={value}" for name, value in RESULTS_DEPEND_ON.items()]
    return code_hash(os.path.join(LIBRARY_PATH, "scripts", script), [*environment, shell], unused)


def grows(amount):
    """A resource of which each retry gets half as much more; `amount` may be a function of the wildcards."""
    return lambda wildcards, attempt: (amount(wildcards) if callable(amount) else amount) * (attempt + 1) // 2


def unused(variant):
    """The modules of the other family's model: a job of this variant imports them and does not call them."""
    if variant is None:
        return []
    amt, llama = ["amt", "encoder"], ["llama"]
    others = llama if config["variants"][variant]["family"] == "amt" else amt
    return [f"libretto/models/{name}.py" for name in others]


def unused_in_generation(system):
    """`unused` of a system's variant; and the choice among candidates, where there is one alone."""
    return unused(system.variant) + ([] if system.best_of > 1 else ["libretto/generation/selection.py"])


def own(path):
    """`path` without its time stamp where it is a file of the user's own: `contents` says what is in it."""
    return ancient(path) if path in OWN_PATHS else path


def source(name):
    """A function for `input:`: the file or folder of a source, its own `path:` or what a rule makes."""
    return lambda wildcards: own(read_path(config, name, "<run>/sources"))


def models(paths):
    """Models by role, for `input:`, each folder with the small file that tells what is in it."""
    told = {f"{role}_sha256": f"{path}.sha256" for role, path in paths.items() if is_folder_of_a_rule(path)}
    return {role: path if role == "best" else ancient(path) for role, path in paths.items()} | told


def is_folder_of_a_rule(path):
    """Whether a pretrained model was downloaded, or is a stand-in; a trained model is told by its `best.json`."""
    return path not in OWN_PATHS and not path.startswith("<run>/train/")


def contents(paths):
    """For `params:` of the rules that read sources: what is in those of the user's own."""
    return [content_digest(path, DIGESTS, logger.info) for path in paths if path in OWN_PATHS]


def source_contents(*names):
    """`contents` of sources, as a function: they are read when a rule needs them."""
    return lambda wildcards: contents(read_path(config, name, "") for name in names)


# Only a real run stops here: a dry run of the shipped config works without the token and before the soundfont is there.
onstart:
    checked(check_writable, f"results/{config['run']}")
    jobs = list(workflow.dag.needrun_jobs())
    slurm_jobs = {number for job in jobs for number in workflow.persistence.external_jobids(job)}
    checked(check_none_left, [log for job in jobs for log in job.log], slurm_jobs)
    files = {file for job in jobs for file in [*job.input, *job.output]}
    checked(check_sources, config, f"results/{config['run']}/sources", files)


# What users can do about it is printed last, below Snakemake's own messages about failed jobs.
onerror:
    if lines := failures(workflow.scheduler.failed, workflow.start_time):
        atexit.register(print, *lines, sep="\n", file=sys.stderr)
