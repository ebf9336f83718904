"""A real Slurm cluster of two nodes on this machine, in a folder of its own: ports, keys, spool and logs.

The system's own Slurm and munge are neither read nor touched. The nodes claim far more memory than the machine has,
because the rules ask for what the full experiment needs, and one processor more: a starting job waits for the disk.
The second node is in the partition `both` only.
"""

import os
import pwd
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

DAEMONS = ("munged", "slurmctld", "slurmd")
CLIENTS = ("sbatch", "srun", "squeue", "sinfo", "scontrol", "scancel")
_SEARCH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])

_CONF = """\
ClusterName=libretto
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
SlurmctldPort={controller_port}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin={task_plugin}
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/jobs.log
JobAcctGatherType=jobacct_gather/none
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=2,batch_sched_delay=1
SlurmdTimeout={timeout}
ReturnToService=2
MinJobAge=7200
FirstJobId={first_job}
KillWait=2
GresTypes=gpu
NodeName=DEFAULT CPUs={processors} RealMemory=2000000 Gres=gpu:3 State=UNKNOWN
NodeName={host} NodeHostname={host} NodeAddr=127.0.0.1 Port={node_port}
NodeName=second NodeHostname={host} NodeAddr=127.0.0.1 Port={second_port}
PartitionName=cpu Nodes={host} Default=YES MaxTime=INFINITE State=UP
PartitionName=gpu Nodes={host} MaxTime=INFINITE State=UP
PartitionName=both Nodes={host},second MaxTime=INFINITE State=UP
"""


class NoSlurmError(RuntimeError):
    """Slurm cannot run on this machine; the message says why."""


@contextmanager
def slurm_cluster(folder: Path, limit_memory: bool = False, timeout: int = 300) -> Iterator[dict[str, str]]:
    """Start munge and Slurm in `folder` (short path: it holds a socket); stop just these daemons at the end.

    Args:
        folder: for all that the cluster writes.
        limit_memory: kill jobs that use more than they asked for; needs root and cgroups (version 1).
        timeout: seconds without an answer after which a node counts as down.

    Yields:
        The environment variables by which Slurm's commands find the cluster.

    Raises:
        NoSlurmError: where a program is missing or a daemon does not come up.
    """
    missing = [name for name in (*DAEMONS, *CLIENTS) if not shutil.which(name, path=_SEARCH)]
    if missing:
        raise NoSlurmError(f"not installed: {', '.join(missing)} (Debian: slurm-wlm, munge)")
    host = socket.gethostname().split(".")[0]
    _configure(folder, host, limit_memory, timeout)
    conf = folder / "slurm.conf"
    environment = {"SLURM_CONF": str(conf), "PATH": os.pathsep.join([_srun_that_knows(conf), _SEARCH])}
    munge = [f"--{name}={folder}/munge.{name.split('-')[0]}" for name in ("socket", "key-file", "pid-file", "log-file")]
    munge.append(f"--seed-file={folder}/munge.seed")
    with ExitStack() as running:
        running.enter_context(_daemon(folder, environment, "munged", "--foreground", "--force", *munge))
        _wait(lambda: (folder / "munge.socket").exists(), folder, "munged")
        running.enter_context(_daemon(folder, environment, "slurmctld", "-D", "-f", str(conf)))
        for node in (host, "second"):
            running.enter_context(slurmd(folder, environment, node))
        nodes = ("sinfo", "--noheader", "--partition", "both", "-o", "%t %D")
        _wait(lambda: "idle 2" in _ask(environment, *nodes), folder, "slurmctld", "slurmd")
        running.callback(_ask, environment, "scancel", "--user", str(os.getuid()))
        yield environment


def slurmd(folder: Path, environment: dict[str, str], node: str) -> AbstractContextManager[subprocess.Popen]:
    """The daemon of a node, while the context lasts."""
    return _daemon(folder, environment, "slurmd", "-D", "-f", str(folder / "slurm.conf"), "-N", node)


def finished_jobs(folder: Path) -> list[dict[str, str]]:
    """What Slurm recorded about each finished job: `JobId`, `Name`, `Partition`, `JobState` and more."""
    lines = (folder / "jobs.log").read_text().splitlines()
    return [dict(item.partition("=")[::2] for item in line.split() if "=" in item) for line in lines]


def _configure(folder: Path, host: str, limit_memory: bool, timeout: int) -> None:
    (folder / "state").mkdir(parents=True, exist_ok=True)
    key = folder / "munge.key"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o600)
    ports = dict(zip(("controller_port", "node_port", "second_port"), _free_ports(3), strict=True))
    settings = {
        "host": host,
        "processors": os.cpu_count() + 1,
        "user": pwd.getpwuid(os.getuid()).pw_name,
        "folder": folder,
        "task_plugin": "task/cgroup" if limit_memory else "task/none",
        "timeout": timeout,
        "first_job": 1 + int(time.time()) % 10**7,  # a job that a killed cluster left has another number
    }
    if limit_memory:
        limits = "ConstrainRAMSpace=yes\nConstrainSwapSpace=yes\nAllowedSwapSpace=0\n"
        (folder / "cgroup.conf").write_text(f"CgroupPlugin=cgroup/v1\nCgroupMountpoint=/sys/fs/cgroup\n{limits}")
    (folder / "slurm.conf").write_text(_CONF.format(**settings, **ports))
    # Fake GPUs: Slurm hands them out and sets CUDA_VISIBLE_DEVICES, which is what is tested.
    (folder / "gres.conf").write_text("".join(f"Name=gpu File=/dev/{name}\n" for name in ("null", "zero", "full")))


def _srun_that_knows(conf: Path) -> str:
    """A folder for PATH with an `srun` that finds the cluster, for Snakemake drops SLURM_CONF before it calls it."""
    script = conf.parent / "bin" / "srun"
    script.parent.mkdir()
    script.write_text(f"#!/bin/sh\nSLURM_CONF='{conf}' exec {shutil.which('srun', path=_SEARCH)} \"$@\"\n")
    script.chmod(0o755)
    return str(script.parent)


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@contextmanager
def _daemon(folder: Path, environment: dict[str, str], name: str, *arguments: str) -> Iterator[subprocess.Popen]:
    with open(folder / f"{name}.out", "wb") as out:
        process = subprocess.Popen(
            [shutil.which(name, path=_SEARCH), *arguments],
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _ask(environment: dict[str, str], *command: str) -> str:
    run = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    return run.stdout


def _wait(ready, folder: Path, *names: str, seconds: int = 60) -> None:
    for _ in range(seconds * 4):
        if ready():
            return
        time.sleep(0.25)
    logs = [path for name in names for path in (folder / f"{name}.out", folder / f"{name}.log") if path.exists()]
    tails = "\n".join(f"{path.name}: {path.read_text(errors='replace')[-600:]}" for path in logs)
    raise NoSlurmError(f"{' and '.join(names)} did not come up within {seconds} s\n{tails}")
