"""What a run cost, rule by rule, from the benchmark files that Snakemake writes for each job."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

SECONDS_PER_HOUR = 3600
BYTES_PER_MIB = 2**20
BYTES_PER_GB = 10**9
COLUMNS = ("rule", "jobs", "hours", "cpu_hours", "gpu_hours", "max_memory_gb")


def collect_costs(folder: str | Path, rules: Sequence[Mapping]) -> pd.DataFrame:
    """Sum up the benchmark files of a run.

    Args:
        folder: where they lie, at any depth; paths in `rules` start with it.
        rules: in the order of the rows: each with `name`, `benchmark` (a regular expression that its files' paths
            match from the start, or None) and `gpus` (how many a job asks for, None if that differs).

    Returns:
        A row per rule that ran, then their total, in `COLUMNS`: wall-clock hours, CPU hours, wall-clock hours times
        GPUs asked for, and the largest resident memory of a job in GB. Files of no rule are left out: they are from an
        earlier config.
    """
    files = sorted(path.as_posix() for path in Path(folder).rglob("*.tsv"))
    rows = []
    for rule in rules:
        own = [path for path in files if re.match(rule["benchmark"], path)]
        if own:
            jobs = pd.concat(map(_read, own), ignore_index=True)
            hours = jobs["s"].sum() / SECONDS_PER_HOUR
            rows.append(
                {
                    "rule": rule["name"],
                    "jobs": len(own),
                    "hours": hours,
                    "cpu_hours": jobs["cpu_time"].sum() / SECONDS_PER_HOUR,
                    "gpu_hours": float("nan") if rule["gpus"] is None else hours * rule["gpus"],
                    "max_memory_gb": jobs["max_rss"].max() * BYTES_PER_MIB / BYTES_PER_GB,
                }
            )
    costs = pd.DataFrame(rows, columns=COLUMNS)
    total = costs[["jobs", "hours", "cpu_hours", "gpu_hours"]].sum().to_dict()
    total |= {"rule": "total", "jobs": int(total["jobs"]), "max_memory_gb": costs["max_memory_gb"].max()}
    return pd.DataFrame([*costs.to_dict("records"), total], columns=COLUMNS)


def _read(path: str) -> pd.DataFrame:
    """The seconds, CPU seconds and MiB of one job; a job that ended before it could be measured has no CPU time."""
    return pd.read_csv(path, sep="\t", usecols=["s", "cpu_time", "max_rss"], na_values=["NA", "-"]).astype(float)
