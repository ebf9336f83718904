"""What a run cost, rule by rule: from the benchmark files that Snakemake writes, and from the records of its jobs."""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

import pandas as pd

from libretto.provenance.records import RECORDS

SECONDS_PER_HOUR = 3600
BYTES_PER_MIB = 2**20
BYTES_PER_GB = 10**9
SUMMED = ("jobs", "hours", "cpu_hours", "gpu_hours", "gpu_hours_asked", "waiting_hours", "tries")
COLUMNS = ("rule", *SUMMED, "max_memory_gb")


def collect_costs(folder: str | Path, rules: Sequence[Mapping]) -> pd.DataFrame:
    """Sum up the benchmark files of a run.

    Args:
        folder: where they lie, at any depth; paths in `rules` start with it. The records lie beside it.
        rules: in the order of the rows: each with `name`, `benchmark` (a regular expression that its files' paths
            match from the start, or None) and `gpus` (how many a job asks for, None if that differs).

    Returns:
        A row per rule that ran, then their total, in `COLUMNS`: of the tries that ended well, wall-clock hours, CPU
        hours and wall-clock hours times GPUs; the GPU hours that Slurm was asked for (time limit times GPUs) and the
        hours that its jobs waited for a place, NaN where no job ran on Slurm; how often the jobs began, NaN where a
        record does not say so; and the largest resident memory of a job in GB. Files of no rule are left out: they are
        from an earlier config.
    """
    files = sorted(path.as_posix() for path in Path(folder).rglob("*.tsv"))
    rows = []
    for rule in rules:
        own = [path for path in files if re.match(rule["benchmark"], path)]
        if own:
            jobs = pd.concat(map(_read, own), ignore_index=True)
            hours = jobs["s"].sum() / SECONDS_PER_HOUR
            gpus = float("nan") if rule["gpus"] is None else rule["gpus"]
            records = [_record(path, folder) for path in own]
            slurm = _slurm_jobs(records)
            rows.append(
                {
                    "rule": rule["name"],
                    "jobs": len(own),
                    "hours": hours,
                    "cpu_hours": jobs["cpu_time"].sum() / SECONDS_PER_HOUR,
                    "gpu_hours": gpus * hours,
                    "gpu_hours_asked": gpus * slurm["limit_hours"].sum(min_count=1),
                    "waiting_hours": slurm["waiting_hours"].sum(min_count=1),
                    "tries": sum(record.get("tries", float("nan")) for record in records),
                    "max_memory_gb": jobs["max_rss"].max() * BYTES_PER_MIB / BYTES_PER_GB,
                }
            )
    costs = pd.DataFrame(rows, columns=COLUMNS)
    total = costs[[*SUMMED]].sum(min_count=1).to_dict()
    total |= {"rule": "total", "max_memory_gb": costs["max_memory_gb"].max()}
    table = pd.DataFrame([*costs.to_dict("records"), total], columns=COLUMNS)
    return table.astype({"jobs": "Int64", "tries": "Int64"})


def _record(benchmark: str, folder: str | Path) -> dict:
    """The record of a benchmark file's job; empty if it has none: it ended before there were records."""
    path = (Path(folder).parent / RECORDS / Path(benchmark).relative_to(folder)).with_suffix("")
    path = path.with_name(f"{path.name}.json")
    return json.loads(path.read_text()) if path.exists() else {}


def _slurm_jobs(records: Sequence[Mapping]) -> pd.DataFrame:
    """What the records say of each Slurm job, of which jobs may have shared one."""
    jobs = {record["slurm_job"]: record["slurm"] for record in records if record.get("slurm")}
    rows = [
        {
            "waiting_hours": _hours_between(job["EligibleTime"], job["StartTime"]),
            "limit_hours": _limit_hours(job["TimeLimit"]),
        }
        for job in jobs.values()
    ]
    return pd.DataFrame(rows, columns=["waiting_hours", "limit_hours"], dtype=float)


def _hours_between(earlier: str, later: str) -> float:
    return (datetime.fromisoformat(later) - datetime.fromisoformat(earlier)).total_seconds() / SECONDS_PER_HOUR


def _limit_hours(limit: str) -> float:
    """Slurm's `days-hours:minutes:seconds`; NaN for no limit."""
    if limit == "UNLIMITED":
        return float("nan")
    days, _, clock = limit.rpartition("-")
    hours, minutes, seconds = map(int, clock.split(":"))
    return 24 * int(days or 0) + hours + minutes / 60 + seconds / SECONDS_PER_HOUR


def _read(path: str) -> pd.DataFrame:
    """The seconds, CPU seconds and MiB of one job; a job that ended before it could be measured has no CPU time."""
    return pd.read_csv(path, sep="\t", usecols=["s", "cpu_time", "max_rss"], na_values=["NA", "-"]).astype(float)
