"""Jobs that an earlier call left behind: the next call names them and does not begin; two of one job do not run."""

import os
import socket
import subprocess
import sys

import pytest

from libretto.errors import InputError
from libretto.leftovers import check_none_left
from tests.checkout import ROOT

LOG = "results/demo/logs/score/amt-t1.0.log"
JOB = """
import os, sys, time
from types import SimpleNamespace
from libretto.job import start_job
start_job(SimpleNamespace(log=[sys.argv[1]], output=["never written"]))
if "WORKER" in os.environ and os.fork():
    time.sleep(60)
print("started", os.getpid(), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def start(tmp_path):
    """A function that starts a job whose log is `LOG` and that works until it is told to end."""
    jobs = []

    def begin(**environment):
        jobs.append(
            subprocess.Popen(
                [sys.executable, "-c", JOB, LOG],
                cwd=tmp_path,
                env={**os.environ, "PYTHONPATH": str(ROOT / "workflow"), **environment},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        return jobs[-1]

    yield begin
    for job in jobs:
        job.communicate()


def test_a_job_that_still_runs_is_named_until_it_has_ended(start, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    check_none_left([LOG], [])  # nothing has run here yet
    job = start()
    assert job.stdout.readline().startswith("started")
    check_none_left(["results/demo/logs/table.log"], [])
    message = rf"at work: process {job.pid} on {socket.gethostname()} since \S+ \S+\. Wait .* or stop them"
    with pytest.raises(InputError, match=message):
        check_none_left([LOG], [])
    job.communicate()
    check_none_left([LOG], [])


def test_a_slurm_job_that_still_runs_is_named_with_its_cancellation(start, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert start(SLURM_JOB_ID="71").stdout.readline().startswith("started")
    with pytest.raises(InputError, match=r"at work: Slurm job 71\. Wait .* or `scancel 71`"):
        check_none_left([LOG], [])


def test_a_worker_that_outlives_its_job_is_in_nobodys_way(start, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    job = start(WORKER="yes")
    worker = int(job.stdout.readline().split()[1])
    job.kill()
    job.wait()
    os.kill(worker, 0)  # it is there, until the fixture ends
    check_none_left([LOG], [])


def test_the_second_of_two_equal_jobs_does_nothing_and_says_why(start, tmp_path):
    first = start()
    assert first.stdout.readline().startswith("started")
    second = start()
    assert second.communicate()[0] == ""
    assert second.returncode == 1
    reason = f"results/demo/locks/score/amt-t1.0 is in use by process {first.pid} on {socket.gethostname()} since"
    assert reason in (tmp_path / LOG).read_text()
    assert first.poll() is None
