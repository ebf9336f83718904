"""A synthetic archive through shard, pair, tokenize and split on two cores: wall time, files per second, peak memory.

    python -m tests.bench.data_stage [files] [folder]

Exits with 1 if a job takes 2 GiB or more, or if a file or a caption is lost.
"""

import argparse
import csv
import json
import sys
import tempfile
import time
from pathlib import Path

from tests.checkout import ROOT, snakemake
from tests.corpus import write_archive

RULES = ("shard", "pair", "tokenize", "split", "summarize")
MAX_MEMORY = 2_048  # MiB


def measurements(benchmarks: Path, rule: str) -> list[dict]:
    """Snakemake's benchmark of each job of a rule: seconds and peak memory in MiB."""
    paths = sorted(benchmarks.glob(f"{rule}.tsv")) or sorted((benchmarks / rule).glob("*.tsv"))
    return [row for path in paths for row in csv.DictReader(open(path), delimiter="\t")]


def bench(n_files: int, folder: Path) -> bool:
    """Make the archive if `folder` has none, run the stage, print; returns whether all is well."""
    archive, captions = folder / "lmd.tar.gz", folder / "train.json"
    if not captions.exists():
        write_archive(archive, captions, n_files)
    paths = {"lmd": archive, "midicaps": captions, "soundfont": ROOT / "README.md"}
    sources = {name: {"path": str(path)} for name, path in paths.items()}
    (folder / "experiment.json").write_text(json.dumps({"run": "bench", "sources": sources}))
    configs = ["--configfile", str(ROOT / "config.yaml"), "experiment.json"]
    run = folder / "results/bench"
    start = time.perf_counter()
    done = snakemake(
        folder, "--snakefile", str(ROOT / "Snakefile"), *configs, "--cores", "2", "--forceall",
        "--", str(run.relative_to(folder) / "data/summary.json"),
    )  # fmt: skip
    seconds = time.perf_counter() - start
    if done.returncode:
        print(done.stdout[-5_000:])
        return False
    print(f"{n_files} files, archive of {archive.stat().st_size / 2**20:.0f} MiB, {seconds:.0f} s in all")
    print(f"{'rule':10} {'jobs':>4} {'seconds':>8} {'files/s':>8} {'peak MiB':>8}   (seconds of all its jobs)")
    highest = 0.0
    for rule in RULES:
        rows = measurements(run / "benchmarks", rule)
        rule_seconds, peak = sum(float(row["s"]) for row in rows), max(float(row["max_rss"]) for row in rows)
        highest = max(highest, peak)
        print(f"{rule:10} {len(rows):4} {rule_seconds:8.1f} {n_files / rule_seconds:8.0f} {peak:8.0f}")
    summary = json.loads((run / "data/summary.json").read_text())
    rows = sum(1 for _ in open(captions))  # noqa: SIM115
    print(f"{summary['songs']} songs; members {summary['members']} of {n_files}, rows {summary['rows']} of {rows}")
    print(json.dumps(summary["dropped"]))
    return summary["members"] == n_files and summary["rows"] == rows and highest < MAX_MEMORY


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", type=int, nargs="?", default=20_000)
    parser.add_argument("folder", type=Path, nargs="?", help="keeps archive and results; default: a temporary one")
    arguments = parser.parse_args()
    if arguments.folder:
        arguments.folder.mkdir(parents=True, exist_ok=True)
        sys.exit(not bench(arguments.files, arguments.folder.resolve()))
    with tempfile.TemporaryDirectory() as folder:
        sys.exit(not bench(arguments.files, Path(folder)))


if __name__ == "__main__":
    main()
