"""The demo through `snakemake --profile slurm` on a real Slurm: same table, GPU rules on the GPU partition."""

import re
import tempfile
from pathlib import Path

import pytest

from tests.checkout import copy_checkout, snakemake
from tests.slurm_cluster import NoSlurmError, finished_jobs, slurm_cluster

GPU_RULES = {"train", "validate", "generate"}


@pytest.fixture(scope="module")
def cluster():
    """The cluster's folder and the environment by which its commands find it."""
    # Not pytest's own folder: the path of a socket has 108 characters at most.
    with tempfile.TemporaryDirectory(prefix="slurm-", ignore_cleanup_errors=True) as name:
        try:
            with slurm_cluster(Path(name)) as environment:
                yield Path(name), environment
        except NoSlurmError as error:
            pytest.skip(f"no Slurm on this machine: {error}")


@pytest.fixture(scope="module")
def through_slurm(cluster, demo, tmp_path_factory):
    """A copy of the checkout in which the demo's experiment has gone through Slurm, and what Snakemake said."""
    _, environment = cluster
    checkout = copy_checkout(tmp_path_factory.mktemp("slurm"))
    run = snakemake(
        checkout,
        *("--profile", "slurm", "--configfile", "demo/experiment.yaml", "--config", "run=through-slurm"),
        # This cluster keeps no accounts of jobs, and its node has few processors: one for each job.
        *("--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "2", "--slurm-no-account"),
        *("--latency-wait", "10", "--slurm-keep-successful-logs"),
        "--set-threads",
        *(f"{rule}=1" for rule in ("train", "validate", "fold", "generate", "render", "embed_fad", "provenance")),
        **environment,
    )
    assert run.returncode == 0, run.stdout[-5000:]
    return checkout, run.stdout


@pytest.mark.slow
@pytest.mark.slurm
def test_the_table_equals_the_local_runs(through_slurm, demo):
    checkout, _ = through_slurm
    local = demo / "results/demo/table.csv"
    assert (checkout / "results/through-slurm/table.csv").read_bytes() == local.read_bytes()


@pytest.mark.slow
@pytest.mark.slurm
def test_gpu_rules_ran_on_the_gpu_partition(through_slurm, cluster):
    _, output = through_slurm
    folder, _ = cluster
    submitted = re.findall(r"submitted with SLURM jobid (\d+) \(log: \S*/(?:rule|group)_(\w+)", output)
    partition_of = {job["JobId"]: job["Partition"] for job in finished_jobs(folder)}
    partitions: dict[str, set[str]] = {}
    for number, rule in submitted:
        partitions.setdefault(rule, set()).add(partition_of[number])
    assert {rule for rule, names in partitions.items() if names == {"gpu"}} >= GPU_RULES
    assert partitions["tokenize"] == {"cpu"}
