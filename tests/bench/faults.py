"""Faults of a cluster, each done to a small run on a real Slurm on this machine, without a network.

    python -m tests.bench.faults [FAULT ...]

Needs root: for memory limits (cgroups version 1), small disks, a network of its own. Prints a row of a table as each
fault ends: what happened, and whether the results equal an undisturbed run's; exits with 1 if some do not.
"""

import argparse
import hashlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import psutil
import yaml

from tests.checkout import copy_checkout, shorten, snakemake
from tests.slurm_cluster import finished_jobs, slurm_cluster, slurmd

RUN = "results/demo"
MODEL = f"{RUN}/train/llama-1b/model/model.safetensors"
TRAINED = f"{RUN}/train/llama-1b/best.json"
SHARDED = f"{RUN}/data/members.parquet"
TOKENS = [f"{RUN}/data/tokens/{digit}.parquet" for digit in "01"]
SPLITS = f"{RUN}/data/splits/train.parquet"
AUDIO = f"{RUN}/audio/ground-truth"
LOCAL = ("--profile", "demo")
SLURM = (
    *("--profile", "slurm", "--configfile", "demo/experiment.yaml", "--slurm-status-command", "squeue"),
    *("--slurm-init-seconds-before-status-checks", "2", "--slurm-no-account", "--slurm-keep-successful-logs"),
    *("--latency-wait", "5", "--set-threads", "train=1", "render=1"),
)
FAULTS = {}
# A network without neighbours; Slurm wants an address besides the loopback's.
ALONE = "ip link set lo up && ip address add 192.0.2.1/32 dev lo"


def fault(does):
    """Register a function of a `Lab` that does what its docstring says, and returns what happened and the results."""
    FAULTS[does.__name__] = does
    return does


class Lab:
    """A checkout with a run of which the data stage is done, a cluster, and what an undisturbed run ends with."""

    def __init__(self, folder: Path, environment: dict[str, str], cluster: Path):
        self.environment, self.cluster = environment, cluster
        self.whole = copy_checkout(folder / "whole")
        shorten(self.whole)
        path = self.whole / "demo/experiment.yaml"
        experiment = yaml.safe_load(path.read_text())
        experiment["checkpoint_minutes"] = 0
        experiment["variants"]["llama-1b"]["training"] |= {"max_steps": 60, "eval_steps": 10}
        path.write_text(yaml.safe_dump(experiment, sort_keys=False))
        run = snakemake(self.whole, *LOCAL, "--", TRAINED, AUDIO)
        assert run.returncode == 0, run.stdout[-3000:]

    def copy(self, *without: str) -> Path:
        """A copy of the finished run without some of its results."""
        self.checkout = Path(tempfile.mkdtemp(dir=self.whole.parent)) / "checkout"
        shutil.copytree(self.whole, self.checkout, symlinks=True)
        for name in without:
            path = self.checkout / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        return self.checkout

    def start(self, *targets: str, options=()) -> subprocess.Popen:
        """`snakemake --profile slurm` in the background; its output is in the file `printed`."""
        command = [sys.executable, "-m", "snakemake", *SLURM, *options, "--", *targets]
        environment = {**os.environ, **self.environment}
        with open(self.checkout / "printed", "a") as out:
            return subprocess.Popen(
                command, cwd=self.checkout, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out
            )

    @property
    def printed(self) -> str:
        return (self.checkout / "printed").read_text()

    def ask(self, *command: str) -> str:
        """What one of Slurm's commands prints."""
        environment = {**os.environ, **self.environment}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False).stdout.strip()

    def running_job(self) -> str:
        """Wait until a job runs; returns its number."""
        until(lambda: self.ask("squeue", "-h", "-t", "running", "-o", "%A"))
        return self.ask("squeue", "-h", "-t", "running", "-o", "%A").split()[0]

    def same(self, *paths: str) -> bool:
        """Whether files equal those of the undisturbed run."""
        return all(digest(self.checkout / path) == digest(self.whole / path) for path in paths)


def digest(path: Path) -> str:
    files = sorted(path.rglob("*.flac")) if path.is_dir() else [path]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def until(ready, seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.2)


def lines(text: str, *words: str) -> str:
    """The last line that has one of the words, without the time."""
    found = [line for line in text.splitlines() if any(word in line for word in words)]
    return re.sub(r"^\S+ \S+ (INFO|ERROR|WARNING) ", "", found[-1].strip()) if found else "nothing"


def train_and(lab: Lab, disturb) -> tuple[str, bool]:
    """Disturb a training that has written a checkpoint."""
    lab.copy(f"{RUN}/train/llama-1b", f"{RUN}/checkpoints/llama-1b")
    process = lab.start(TRAINED)
    until(lambda: list(lab.checkout.glob(f"{RUN}/checkpoints/llama-1b/*/checkpoint-*/complete")))
    disturb(lab.ask("squeue", "-h", "-o", "%A"))
    assert process.wait() == 0, lab.printed[-3000:]
    tries = len(re.findall("has been submitted", lab.printed))
    log = (lab.checkout / f"{RUN}/logs/train/llama-1b.log").read_text()
    return f"submitted {tries} times; {lines(log, 'resuming from').replace(str(lab.checkout), '')}", lab.same(MODEL)


@fault
def requeue(lab: Lab):
    """`scontrol requeue` of a running training"""
    return train_and(lab, lambda job: lab.ask("scontrol", "requeue", job))


@fault
def terminate(lab: Lab):
    """`scancel --signal=TERM` of a running training"""
    return train_and(lab, lambda job: lab.ask("scancel", "--signal=TERM", job))


@fault
def node_dies(lab: Lab):
    """A node dies under rule `shard` and comes back after 40 s"""
    lab.copy(f"{RUN}/data")
    process = lab.start(SHARDED)
    job = lab.running_job()
    host = socket.gethostname().split(".")[0]
    for one in psutil.process_iter(["cmdline"]):
        command = " ".join(one.info["cmdline"] or [])
        if f"slurmstepd: [{job}." in command or ("slurmd" in command and command.endswith(f"-N {host}")):
            for child in [*one.children(recursive=True), one]:
                child.kill()
    until(lambda: "down" in lab.ask("sinfo", "-h", "-n", host, "-o", "%T"))
    state = lab.ask("squeue", "-h", "-j", job, "-o", "%T %r")
    with slurmd(lab.cluster, lab.environment, host):
        process.wait()
        assert process.returncode == 0, lab.printed[-3000:]
        lab.ask("scancel", "--user", "root")
        happened = f"the job became {state}, and ran again; submitted {lab.printed.count('has been submitted')} times"
        return happened, lab.same(SHARDED)


@fault
def memory(lab: Lab):
    """Two jobs in a group use more memory than they asked for"""
    lab.copy(f"{RUN}/data/tokens")
    rules = lab.checkout / "workflow/rules/data.smk"
    rules.write_text(rules.read_text().replace("mem_mb=grows(2000)", "mem_mb=grows(150)"))
    done = len(finished_jobs(lab.cluster))
    process = lab.start(*TOKENS)
    assert process.wait() == 0, lab.printed[-3000:]
    jobs = finished_jobs(lab.cluster)[done:]
    logs = {path.stem: path.read_text() for path in lab.checkout.glob("slurm_logs/**/*.log")}
    tries = [
        re.search(r"mem=([^,]+)", job["Tres"])[1] + (" killed" if "oom-kill" in logs[job["JobId"]] else " enough")
        for job in jobs
    ]
    return f"asked for {', '.join(tries)}", lab.same(*TOKENS)


@fault
def submitter_dies(lab: Lab):
    """Snakemake killed with -9 while its jobs run and wait, and started again"""
    lab.copy(f"{RUN}/train/llama-1b", f"{RUN}/checkpoints/llama-1b")
    process = lab.start(TRAINED)
    until(lambda: list(lab.checkout.glob(f"{RUN}/checkpoints/llama-1b/*/checkpoint-*/complete")))
    process.kill()
    process.wait()
    assert lab.start(TRAINED).wait() == 1
    locked = lines(lab.printed, "Directory cannot be locked")
    snakemake(lab.checkout, *SLURM, "--unlock", **lab.environment)
    assert lab.start(TRAINED).wait() == 1
    refused = lines(lab.printed, "of an earlier call")
    until(lambda: not lab.ask("squeue", "-h"))
    again = lab.start(TRAINED)
    assert again.wait() == 0, lab.printed[-3000:]
    happened = (
        f"“{locked[:40]}...”; after `--unlock`: “{refused}”; after that: {lines(lab.printed, 'Nothing to be done')}"
    )
    return happened, lab.same(MODEL) and lab.printed.count("has been submitted") == 1


@fault
def no_network(lab: Lab):
    """A job that downloads, on a node without a network"""
    file = f"{RUN}/sources/lmd.tar.gz"
    lab.copy()
    # On a node: by default downloads run where Snakemake does.
    path = lab.checkout / "demo/experiment.yaml"
    experiment = yaml.safe_load(path.read_text())
    del experiment["sources"]["lmd"]
    path.write_text(yaml.safe_dump(experiment, sort_keys=False))
    rules = lab.checkout / "workflow/rules/sources.smk"
    rules.write_text(rules.read_text().replace("    download_lmd,\n", ""))
    assert lab.start(file, options=["--retries", "0"]).wait() == 1
    return lab.printed.strip().splitlines()[-1], not (lab.checkout / file).exists()


@contextmanager
def disk(folder: Path, megabytes: int):
    """A small disk with what lies in `folder`, in its place."""
    moved = folder.rename(folder.with_name("moved"))
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}M", "tmpfs", str(folder)], check=True)
    shutil.copytree(moved, folder, dirs_exist_ok=True)
    shutil.rmtree(moved)
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def full_disk(lab: Lab, target: str, compared: str, *without: str) -> tuple[str, bool]:
    lab.copy(*without)
    results = lab.checkout / "results"
    with disk(results, 300):
        filler = results / "filler"
        filler.write_bytes(bytes(max(0, shutil.disk_usage(results).free - 20_000)))
        run = snakemake(lab.checkout, *LOCAL, "--", target)
        assert run.returncode == 1
        last = run.stdout.strip().splitlines()[-1].replace(f"{lab.checkout}/", "")
        filler.unlink()
        again = snakemake(lab.checkout, *LOCAL, "--", target)
        assert again.returncode == 0, again.stdout[-3000:]
        return last, lab.same(compared)


@fault
def full_disk_train(lab: Lab):
    """A full disk under a training"""
    return full_disk(lab, TRAINED, MODEL, f"{RUN}/train/llama-1b", f"{RUN}/checkpoints/llama-1b")


@fault
def full_disk_render(lab: Lab):
    """A full disk under rule `render`"""
    return full_disk(lab, AUDIO, AUDIO, AUDIO)


@fault
def full_disk_page(lab: Lab):
    """A full disk under a page and its figures"""
    figure = f"{RUN}/report/figures/dataset.png"
    assert snakemake(lab.whole, *LOCAL, "--", figure).returncode == 0
    return full_disk(lab, figure, figure, f"{RUN}/report")


def main(names: list[str]) -> int:
    with tempfile.TemporaryDirectory(prefix="faults-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        with slurm_cluster(folder / "slurm", limit_memory=True, timeout=20) as environment:
            lab = Lab(folder, environment, folder / "slurm")
            print("| fault | what happened | same result |\n|---|---|---|", flush=True)
            well = True
            for does in names:
                happened, same = FAULTS[does](lab)
                print(f"| {FAULTS[does].__doc__} | {happened} | {'yes' if same else '**no**'} |", flush=True)
                well &= same
                shutil.rmtree(lab.checkout.parent)
    return 0 if well else 1


if __name__ == "__main__":
    if "ALONE" not in os.environ:
        again = [sys.executable, "-m", "tests.bench.faults", *sys.argv[1:]]
        os.execvp("unshare", ["unshare", "--net", "sh", "-c", f'{ALONE} && exec env ALONE=yes "$@"', "sh", *again])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("faults", nargs="*", choices=[*FAULTS, []], help="all by default")
    sys.exit(main(parser.parse_args().faults or list(FAULTS)))
