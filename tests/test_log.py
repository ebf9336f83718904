"""What ends a script is one line that a user can act on: on disks that are really full or read-only, too."""

import errno
import os
import subprocess
import sys
from datetime import datetime, timedelta
from types import SimpleNamespace

import pytest

from libretto.disk import check_writable, disk_error
from libretto.errors import InputError
from libretto.failures import failures
from tests.checkout import ROOT, copy_checkout, snakemake

SIZE = 1 << 20


@pytest.fixture
def disk(tmp_path):
    """A file system of 1 MB; and a function that makes it read-only."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a file system can be mounted only by root, and not in every container")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def run_script(log, body: str) -> str:
    """What a script with this body prints on stderr; its log is `log`."""
    code = f"from libretto.log import start_log\nstart_log({str(log)!r})\n{body}"
    env = {**os.environ, "PYTHONPATH": str(ROOT / "workflow")}
    run = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert run.returncode == 1
    return run.stderr


FULL = "No space left on device; make room on that disk and run again; finished jobs are kept"
# How the project's files are written, each twice as large as the disk.
WRITERS = {
    "text": "from pathlib import Path; Path('{disk}/table.md').write_text('x' * 2 * {size})",
    "copy": "import shutil; open('{disk}/../whole', 'wb').write(bytes(2 * {size})); "
    "shutil.copyfile('{disk}/../whole', '{disk}/copy')",
    "table": "import os, pyarrow as pa; from libretto.tables import write_table; "
    "write_table('{disk}/songs.parquet', pa.schema({{'midi': pa.binary()}}), [{{'midi': os.urandom(2 * {size})}}])",
    "safetensors": "import numpy; from safetensors.numpy import save_file; "
    "save_file({{'weight': numpy.zeros(2 * {size}, 'u1')}}, '{disk}/model.safetensors')",
}
NAMED = {"copy": "copy", "table": "songs.parquet"}  # the other errors of the system do not say which file


@pytest.mark.parametrize("writer", WRITERS)
def test_full_disk_is_reported_in_one_line(disk, writer):
    log = disk.parent / "logs" / "rule.log"
    printed = run_script(log, WRITERS[writer].format(disk=disk, size=SIZE))
    place = disk / NAMED[writer] if writer in NAMED else log.parent
    assert [line.split(" ", 2)[2] for line in printed.splitlines()] == [f"ERROR {place}: {FULL}"]
    assert log.read_text() == printed


@pytest.mark.parametrize(
    "writer",
    [
        "import torch; torch.save(torch.zeros({size}), '{disk}/optimizer.pt')",
        "import numpy, soundfile; soundfile.write('{disk}/0000.wav', numpy.zeros({size}), 22050)",
    ],
    ids=["torch", "soundfile"],
)
def test_full_disk_is_told_last_where_a_library_does_not_say_so(disk, writer):
    printed = run_script(disk / "rule.log", writer.format(disk=disk, size=SIZE))
    assert "ERROR uncaught " in printed
    assert printed.splitlines()[-1].endswith(f"ERROR {disk}: {FULL}")


def test_full_device_is_reported_in_one_line(tmp_path):
    """As root or not."""
    printed = run_script(tmp_path / "rule.log", "with open('/dev/full', 'w') as file: file.write('x')")
    assert [line.split(" ", 2)[2] for line in printed.splitlines()] == [f"ERROR {tmp_path}: {FULL}"]


def test_read_only_disk_is_reported_in_one_line(disk):
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    printed = run_script(disk / "rule.log", "")
    message = f"ERROR {disk}/rule.log: Read-only file system; mount it writable, or work on a disk that is"
    assert [line.split(" ", 2)[2] for line in printed.splitlines()] == [message]


@pytest.mark.slow
def test_read_only_results_are_refused_before_any_job(disk):
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    checkout = copy_checkout(disk.parent / "checkout")
    (checkout / "results").symlink_to(disk)
    run = snakemake(checkout, "--cores", "1", "results/standins/demo/train.json")
    assert run.returncode == 1
    assert run.stdout.splitlines()[-1].startswith(f"Error: {disk}: Read-only file system; mount it writable")
    assert "Traceback" not in run.stdout


@pytest.mark.slow
def test_a_read_only_checkout_is_refused(disk):
    for name in ("Snakefile", "config.yaml", "profiles", "workflow/rules", "workflow/libretto", "workflow/schemas"):
        (disk / name).parent.mkdir(exist_ok=True)
        (disk / name).symlink_to(ROOT / name)
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    run = snakemake(disk, "--dry-run")
    assert run.returncode == 1
    assert run.stdout.splitlines()[-1].startswith(f"Error: {disk}: Read-only file system; mount it writable")
    assert "Traceback" not in run.stdout


def test_a_link_to_nowhere_is_told(tmp_path):
    results = tmp_path / "results"
    results.symlink_to(tmp_path / "unmounted")
    assert subprocess.run(["mkdir", "-p", str(results / "demo")], capture_output=True).returncode
    message = f"^{results} is a link to {tmp_path}/unmounted, which does not exist; "
    with pytest.raises(InputError, match=message):
        check_writable(results / "demo")


@pytest.mark.parametrize("mode", [0o666, 0o777])
def test_a_file_where_a_folder_should_be_is_told(mode, tmp_path):
    results = tmp_path / "results"
    results.touch(mode)
    assert subprocess.run(["mkdir", "-p", str(results / "demo")], capture_output=True).returncode
    with pytest.raises(InputError, match=f"^{results} is a file, but has to be a folder; "):
        check_writable(results / "demo")


def test_other_disk_errors():
    denied = PermissionError(errno.EACCES, os.strerror(errno.EACCES), "results/demo/table.csv")
    assert disk_error(denied, "logs").startswith("results/demo/table.csv: Permission denied; change its permissions")
    assert disk_error(OSError(errno.EDQUOT, "x"), "logs").startswith("logs: Disk quota exceeded; delete files")
    wrapped = RuntimeError("generating the dataset failed")
    wrapped.__cause__ = OSError(errno.ENOSPC, "x", "train.arrow")
    assert disk_error(wrapped, "logs") == f"train.arrow: {FULL}"
    assert disk_error(FileNotFoundError(errno.ENOENT, "x", "train.arrow"), "logs") is None
    assert disk_error(KeyError("x"), "logs") is None


def test_other_errors_keep_their_traceback_and_are_summed_up_in_their_first_line(tmp_path):
    printed = run_script(tmp_path / "rule.log", "raise ValueError('one\\ntwo')")
    first, *rest = printed.splitlines()
    assert first.endswith("ERROR uncaught ValueError: one two")
    assert rest[0] == "Traceback (most recent call last):"


def test_an_error_before_there_is_a_log_folder(tmp_path):
    (tmp_path / "logs").touch()
    printed = run_script(tmp_path / "logs" / "demo" / "rule.log", "")
    assert "ERROR uncaught NotADirectoryError: " in printed.splitlines()[0]
    assert printed.count("Traceback (most recent call last):") == 1
    assert "Error in sys.excepthook" not in printed


# What failed jobs said last


START = datetime(2026, 11, 25, 7)


@pytest.fixture
def make_job(tmp_path):
    """A function that makes a job of Snakemake with a log of these lines, written so many minutes after the start."""

    def make(name, *lines, minutes=1, suffix=""):
        path = tmp_path / f"{name}.log{suffix}"
        path.write_text("".join(f"2026-11-25 07:00:00,000 {line}\n" for line in lines))
        written = (START + timedelta(minutes=minutes)).timestamp()
        os.utime(path, (written, written))
        return SimpleNamespace(name=name, log=[str(tmp_path / f"{name}.log")])

    return make


def test_the_last_error_of_each_failed_job(make_job, tmp_path):
    jobs = [
        make_job(
            "train", "INFO training", "ERROR of the first attempt", "WARNING hot", "ERROR out of memory", "INFO bye"
        ),
        make_job("shard", "INFO reading", "ERROR lmd.tar.gz is damaged: get it again"),
    ]
    assert failures(jobs, START) == [
        f"Error: lmd.tar.gz is damaged: get it again ({tmp_path}/shard.log)",
        f"Error: out of memory ({tmp_path}/train.log)",
    ]


def test_the_error_of_another_gpus_process(make_job, tmp_path):
    make_job("train", "ERROR out of memory", suffix=".3")
    assert failures([make_job("train", "INFO training")], START) == [f"Error: out of memory ({tmp_path}/train.log.3)"]


@pytest.mark.parametrize("lines", [["INFO training"], []])
def test_a_job_that_left_no_error(make_job, tmp_path, lines):
    (line,) = failures([make_job("train", *lines)], START)
    assert line == (
        f"Error: train logged no error in {tmp_path}/train.log: it failed to start, was killed (memory or time "
        "limit), or left an output unwritten; see the messages above"
    )


def test_a_job_whose_log_found_no_room(disk):
    (disk / "train.log").touch()
    with pytest.raises(OSError, match="No space left"):
        (disk / "filler").write_bytes(bytes(2 * SIZE))
    (line,) = failures([SimpleNamespace(name="train", log=[str(disk / "train.log")])], START)
    assert line == f"Error: train logged no error. {disk}: {FULL}"


def test_the_log_of_an_earlier_run_is_not_taken_for_this_ones(make_job, tmp_path):
    (line,) = failures([make_job("train", "ERROR of yesterday", minutes=-1440)], START)
    assert line.startswith(f"Error: train logged no error in {tmp_path}/train.log")
    (tmp_path / "train.log").unlink()
    assert failures([SimpleNamespace(name="train", log=[str(tmp_path / "train.log")])], START) == [line]
