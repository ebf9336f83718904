"""Fresh copies of this checkout and Snakemake in them, as users call it."""

import atexit
import contextlib
import gc
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import psutil
import yaml

ROOT = Path(__file__).parents[1]


def copy_checkout(folder: Path) -> Path:
    """Copy the files that git tracks or would add into `folder`: a clone with the uncommitted changes."""
    from libretto.provenance.code_hash import MODULES  # not above: what forks for `snakemake` imports this module

    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout.split("\0")  # fmt: skip
    for name in filter(None, listed):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    # So that not every copy's Snakemake parses all modules.
    shared = ROOT / ".pytest_cache" / "modules"
    shared.mkdir(parents=True, exist_ok=True)
    (folder / MODULES.parent).mkdir()
    (folder / MODULES).symlink_to(shared)
    return folder


def shorten(checkout: Path) -> None:
    """Make the demo's experiment in `checkout` a short one, for tests that ask whether and not how well it works.

    There is one variant of each family, the one that takes more steps through the pipeline: weighted layers, AMT's
    embeddings. The demo's eleven rows are looked at by tests/check_demo.py.
    """
    path = checkout / "demo/experiment.yaml"
    experiment = yaml.safe_load(path.read_text())
    experiment["standins"] = {"amt-large": {"pieces": 40, "steps": 40}}
    variants = experiment["variants"]
    shorter = {"batch_size": 2, "max_steps": 12, "eval_steps": 6}  # two sequences, for two processes
    for name in ("amt-weighted", "llama-1b"):
        variants[name]["training"] = {**variants[name]["training"], **shorter}
    variants["llama-1b"] |= {"init": "amt", "init_from": "amt-large", "temperatures": [1.1]}
    variants["llama-1b"]["sampling"] = {"constraint": "grammar"}  # so soon, few of its events would be valid
    variants |= dict.fromkeys(("amt", "llama-3b", "llama-3b-amt"))
    experiment["data"] |= {"cuts": {"valid": 8, "test": 16}, "chunk_tokens": 160}
    experiment["sampling"]["max_new_tokens"] = 60
    path.write_text(yaml.safe_dump(experiment, sort_keys=False))


# A process that has imported what Snakemake does, and nothing of the library, forks for each run, which then starts a
# second sooner.
_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(["snakemake.cli", "snakemake.report.html_reporter", "smart_open", "nbformat", "tqdm"])


def snakemake(checkout: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    """Run `snakemake` with `arguments` in `checkout`; returns stdout and stderr as one text."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "SNAKEMAKE_"))}
    # Without bytecode, every job would compile the library again.
    env = {key: value for key, value in inherited.items() if key != "PYTHONDONTWRITEBYTECODE"} | environment
    with tempfile.NamedTemporaryFile("r") as printed:
        process = _forks.Process(target=_call_snakemake, args=(checkout, list(arguments), env, printed.name))
        process.start()
        process.join()
        return subprocess.CompletedProcess(arguments, process.exitcode, printed.read())


def _call_snakemake(checkout: Path, arguments: Sequence[str], env: dict[str, str], printed: str) -> None:
    """In a process of its own, do what `python -m snakemake` does; its stdout and stderr go to the file `printed`.

    But for what Python reads from `env` when it starts, such as PYTHONPATH, and functions that `atexit` calls: they do
    not wait for threads.
    """
    from snakemake.cli import main

    gc.freeze()  # what was imported before is no garbage
    with open(printed, "a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(checkout)
    sys.argv = ["snakemake", *arguments]
    sys.path[:] = [str(checkout), *(path for path in sys.path if path not in (str(ROOT), str(ROOT / "workflow")))]
    try:
        main(arguments)
    finally:
        atexit._run_exitfuncs()  # which a forked process would leave out


def jobs_of(process: subprocess.Popen, words: str) -> list[psutil.Process]:
    """The processes that a running Snakemake has started, directly or not, with `words` in their command line."""
    found = []
    for job in psutil.Process(process.pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if words in " ".join(job.cmdline()):
                found.append(job)
    return found


def dry_run(checkout: Path, *arguments: str) -> str:
    """What a dry run prints; it must succeed."""
    run = snakemake(checkout, "--dry-run", *arguments)
    assert run.returncode == 0, run.stdout[-3000:]
    return run.stdout


def job_counts(printed: str) -> Counter[str]:
    """The jobs by rule, from the first of the tables that a run prints."""
    table = printed.partition("Job stats:")[2].partition("\n\n")[0]
    return Counter({rule: int(count) for rule, count in re.findall(r"^(\S+) +(\d+)$", table, flags=re.MULTILINE)})
