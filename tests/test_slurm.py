"""Rows of the demo through `snakemake --profile slurm` on a real Slurm: same table, GPU rules on the GPU partition."""

import json
import re
import shutil
import tempfile
from pathlib import Path

import pytest

from tests.checkout import copy_checkout, shorten, snakemake
from tests.slurm_cluster import NoSlurmError, finished_jobs, slurm_cluster

GPU_RULES = {"train", "validate", "generate"}
# A variant of each family, to save time; no row depends on the others.
FEWER = {
    "variants": {**dict.fromkeys(("amt-weighted", "llama-3b", "llama-3b-amt")), "llama-1b": {"temperatures": [1.0]}}
}
ROWS = ["ground-truth", "ground-truth-random-text", "amt-unconditional-t1.0", "amt-t1.0", "llama-1b-t1.0"]

pytestmark = [pytest.mark.slow, pytest.mark.slurm, pytest.mark.xdist_group("demo")]


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
    """A copy of the checkout in which rows of the demo have gone through Slurm, and what Snakemake said."""
    _, environment = cluster
    checkout = copy_checkout(tmp_path_factory.mktemp("slurm"))
    shorten(checkout)
    shutil.copytree(demo / "results/standins", checkout / "results/standins")  # what a lab brings along, too
    (checkout / "fewer.json").write_text(json.dumps(FEWER))
    run = snakemake(
        checkout,
        *("--profile", "slurm", "--configfile", "demo/experiment.yaml", "fewer.json"),
        *("--config", "run=through-slurm"),
        # This cluster has no accounting, and its node has few processors: one for each job.
        *("--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "2", "--slurm-no-account"),
        *("--latency-wait", "10", "--slurm-keep-successful-logs"),
        "--set-threads",
        *(f"{rule}=1" for rule in ("train", "validate", "fold", "generate", "render", "embed_fad", "provenance")),
        **environment,
    )
    assert run.returncode == 0, run.stdout[-5000:]
    return checkout, run.stdout


def test_the_rows_equal_the_local_runs(through_slurm, demo):
    checkout, _ = through_slurm
    heading, *rows = (demo / "results/demo/table.csv").read_text().splitlines()
    expected = [row for row in rows if row.partition(",")[0] in ROWS]
    assert (checkout / "results/through-slurm/table.csv").read_text().splitlines() == [heading, *expected]
    assert len(expected) == len(ROWS)


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
