"""A run begun on this machine and continued by `snakemake --profile slurm` on a real Slurm, up to a system's audio.

It equals the local run's, what is done is not done again, GPU rules run on the GPU partition.
"""

import json
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pandas
import pyarrow.parquet as pq
import pytest

from libretto.errors import InputError
from libretto.leftovers import check_none_left
from tests.checkout import copy_checkout, shorten, snakemake
from tests.slurm_cluster import NoSlurmError, finished_jobs, slurm_cluster

DONE = ("results/standins", "results/demo/data", ".snakemake/metadata")  # what the run has when Slurm takes over
SYSTEM = "amt-weighted-t1.0"  # one system, to save time; none depends on another
AUDIO = f"results/demo/audio/{SYSTEM}"
BEST, BY_TWO = (f"results/demo/train/{name}/best.json" for name in ("amt-weighted", "llama-1b"))
TOKENS = f"results/demo/samples/{SYSTEM}/tokens.parquet"
OPTIONS = (
    *("--profile", "slurm", "--configfile", "demo/experiment.yaml"),
    # This cluster has no accounting, and its nodes have few processors: one for each job.
    *("--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "2", "--slurm-no-account"),
    *("--latency-wait", "10", "--slurm-keep-successful-logs"),
    *("--set-threads", "train=1", "generate=1", "render=1"),
)
GPU_RULES = {"train", "generate"}
CPU_RULES = {"render"}

pytestmark = [pytest.mark.slow, pytest.mark.slurm, pytest.mark.xdist_group("slurm")]


@pytest.fixture(scope="module")
def cluster():
    """The cluster's folder and the environment by which its commands find it."""
    # Not pytest's own folder: the path of a socket has 108 characters at most.
    with tempfile.TemporaryDirectory(prefix="slurm-", ignore_cleanup_errors=True) as name:
        try:
            with slurm_cluster(Path(name)) as environment:
                yield Path(name), environment
        except NoSlurmError as error:
            if os.environ.get("CI"):
                raise
            pytest.skip(f"no Slurm on this machine: {error}")


@pytest.fixture(scope="module")
def through_slurm(cluster, demo, tmp_path_factory):
    """A checkout in which Slurm has finished what the demo's data stage began, and the rules' partitions."""
    folder, environment = cluster
    checkout = copy_checkout(tmp_path_factory.mktemp("slurm"))
    shorten(checkout)
    for name in DONE:
        shutil.copytree(demo / name, checkout / name)
    run = snakemake(checkout, *OPTIONS, "--", AUDIO, **environment)
    assert run.returncode == 0, run.stdout[-5000:]
    submitted = re.findall(r"submitted with SLURM jobid (\d+) \(log: \S*/(?:rule|group)_(\w+)", run.stdout)
    partition_of = {job["JobId"]: job["Partition"] for job in finished_jobs(folder)}
    return checkout, {(rule, partition_of[number]) for number, rule in submitted}


def test_losses_tokens_and_audio_equal_the_local_runs(through_slurm, demo):
    checkout, _ = through_slurm
    assert json.loads((checkout / BEST).read_text()) == json.loads((demo / BEST).read_text())
    assert pq.read_table(checkout / TOKENS).equals(pq.read_table(demo / TOKENS))
    clips = {path.name: path.read_bytes() for path in (checkout / AUDIO).glob("*.flac")}
    assert clips
    assert clips == {path.name: path.read_bytes() for path in (demo / AUDIO).glob("*.flac")}


def test_rules_run_on_their_partition_and_no_finished_one_again(through_slurm):
    _, partitions = through_slurm
    assert partitions == {(rule, "gpu") for rule in GPU_RULES} | {(rule, "cpu") for rule in CPU_RULES}


def test_a_job_that_waits_in_the_queue_is_named_until_it_is_cancelled(cluster, monkeypatch):
    _, environment = cluster
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    number = subprocess.run(
        ["sbatch", "--parsable", "--hold", "--output", "/dev/null", "--wrap", "true"],
        check=True, capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip
    with pytest.raises(InputError, match=rf"Slurm job {number}\. Wait .* or `scancel {number}`"):
        check_none_left([], [number, "999"])
    subprocess.run(["scancel", number], check=True)
    check_none_left([], [number])


def test_two_nodes_train_as_one_does(through_slurm, cluster, demo):
    checkout, _ = through_slurm
    folder, environment = cluster
    # As docs/cluster.md says.
    resources = {"slurm_partition": "both", "gpu": 2, "nodes": 2, "tasks": 2, "mpi": "srun"}
    resources["slurm_extra"] = "'--gpus-per-node=1'"
    nodes = ("--set-resources", *(f"train:{name}={value}" for name, value in resources.items()))
    run = snakemake(checkout, *OPTIONS, *nodes, "--", BY_TWO, **environment)
    assert run.returncode == 0, run.stdout[-5000:]
    assert (checkout / "results/demo/logs/train/llama-1b.log.1").exists()  # of the second process
    by_two, by_one = (
        pandas.read_parquet(folder / "results/demo/train/llama-1b/log.parquet").set_index("step")[["loss", "val_loss"]]
        for folder in (checkout, demo)
    )
    assert len(by_two) > 3
    assert (by_two - by_one).abs().max().max() < 1e-3
    (last,) = (job for job in finished_jobs(folder) if job["Partition"] == "both")
    assert last["NodeCnt"] == "2"
