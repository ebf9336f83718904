"""Fresh copies of this checkout and Snakemake in them, as users call it."""

import contextlib
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import psutil
import yaml

ROOT = Path(__file__).parents[1]


def copy_checkout(folder: Path) -> Path:
    """Copy the files that git tracks or would add into `folder`: a clone with the uncommitted changes."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout.split("\0")  # fmt: skip
    for name in filter(None, listed):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


def shorten(checkout: Path) -> None:
    """Make the demo's experiment in `checkout` a short one, for tests that ask whether and not how well it works."""
    path = checkout / "demo/experiment.yaml"
    experiment = yaml.safe_load(path.read_text())
    experiment["standins"] = {"amt-large": {"steps": 40}}
    for variant in experiment["variants"].values():
        variant["training"] |= {"max_steps": 50, "eval_steps": 25}
    experiment["sampling"]["max_new_tokens"] = 90
    path.write_text(yaml.safe_dump(experiment, sort_keys=False))


def snakemake(checkout: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    """Run `snakemake` with `arguments` in `checkout`; returns stdout and stderr as one text."""
    return subprocess.run(
        [sys.executable, "-m", "snakemake", *arguments],
        cwd=checkout, env={**_environment(), **environment}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def _environment() -> dict[str, str]:
    # Without bytecode, every job would compile the library again.
    return {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("HF_", "SNAKEMAKE_")) and key != "PYTHONDONTWRITEBYTECODE"
    }


def jobs_of(process: subprocess.Popen, words: str) -> list[psutil.Process]:
    """The processes that a running Snakemake has started, directly or not, with `words` in their command line."""
    found = []
    for job in psutil.Process(process.pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if words in " ".join(job.cmdline()):
                found.append(job)
    return found


# A process that has imported Snakemake, and nothing of the library, forks for each dry run: that saves half of its time.
_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(["snakemake.cli"])


def dry_run(checkout: Path, *arguments: str) -> str:
    """What a dry run prints; it must succeed."""
    with tempfile.NamedTemporaryFile("r") as printed:
        call = (printed.name, checkout, ["--dry-run", *arguments], _environment())
        process = _forks.Process(target=_call_snakemake, args=call)
        process.start()
        process.join()
        text = printed.read()
    assert process.exitcode == 0, text[-3000:]
    return text


def _call_snakemake(printed: str, checkout: Path, arguments: list[str], environment: dict[str, str]) -> None:
    """In a process of its own, do what `python -m snakemake` does; its stdout and stderr go to the file `printed`."""
    from snakemake.cli import main

    with open(printed, "a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(checkout)
    sys.path[:] = [str(checkout), *(path for path in sys.path if path not in (str(ROOT), str(ROOT / "workflow")))]
    main(arguments)


def job_counts(printed: str) -> Counter[str]:
    """The jobs by rule, from the first of the tables that a run prints."""
    table = printed.partition("Job stats:")[2].partition("\n\n")[0]
    return Counter({rule: int(count) for rule, count in re.findall(r"^(\S+) +(\d+)$", table, flags=re.MULTILINE)})
