import json

import pandas as pd
import pytest

from libretto.provenance.cost import COLUMNS, collect_costs

HEADING = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"


def benchmark(path, seconds, memory, cpu):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(HEADING + f"{seconds}\t0:00:00\t{memory}\t1\t1\t1\t0\t0\t0.0\t{cpu}\n")


def test_costs_by_rule_and_in_total(tmp_path):
    folder = tmp_path / "benchmarks"
    benchmark(folder / "train" / "amt.tsv", 3600, 2000, 1800)
    benchmark(folder / "train" / "llama-1b.tsv", 1800, 4000, 900)
    benchmark(folder / "table.tsv", 36, "NA", "NA")
    benchmark(folder / "train" / "of-an-earlier-config.tsv", 9999, 9999, 9999)
    rules = [
        {"name": "train", "benchmark": rf"{folder}/train/(?P<variant>amt|llama-1b)\.tsv$", "gpus": 2},
        {"name": "table", "benchmark": rf"{folder}/table\.tsv$", "gpus": 0},
        {"name": "never-ran", "benchmark": rf"{folder}/none\.tsv$", "gpus": 0},
    ]
    costs = collect_costs(folder, rules)
    assert list(costs.columns) == list(COLUMNS)
    assert list(costs["rule"]) == ["train", "table", "total"]
    train, table, total = costs.to_dict("records")
    assert train["jobs"] == 2
    assert train["hours"] == pytest.approx(1.5)
    assert train["cpu_hours"] == pytest.approx(0.75)
    assert train["gpu_hours"] == pytest.approx(3.0)
    assert train["max_memory_gb"] == pytest.approx(4.194304)
    assert table["hours"] == pytest.approx(0.01)
    assert (total["jobs"], total["gpu_hours"]) == (3, pytest.approx(3.0))
    assert total["hours"] == pytest.approx(1.51)
    assert costs["tries"].isna().all()  # without records, nobody knows
    assert costs[["waiting_hours", "gpu_hours_asked"]].isna().all(axis=None)
    assert total["max_memory_gb"] == pytest.approx(4.194304)


def test_waiting_tries_and_what_was_asked_for_are_those_of_the_records(tmp_path):
    """Two jobs of one rule in one Slurm job, as a group runs them, and one in a Slurm job of its own."""
    slurm = {  # as `scontrol show job` of Slurm 22.05 printed it
        "EligibleTime": "2026-11-26T07:00:00",
        "StartTime": "2026-11-26T07:30:00",
        "TimeLimit": "2-12:00:00",
    }
    later = slurm | {"StartTime": "2026-11-26T08:00:00", "TimeLimit": "06:30:00"}
    records = {
        "train/amt": {"slurm_job": "5", "slurm": slurm, "tries": 1},
        "train/llama-1b": {"slurm_job": "5", "slurm": slurm, "tries": 3},
        "train/llama-3b": {"slurm_job": "6", "slurm": later, "tries": 1},
        "table": {"slurm_job": None, "slurm": None, "tries": 1},
    }
    folder = tmp_path / "benchmarks"
    for name, record in records.items():
        benchmark(folder / f"{name}.tsv", 3600, 1, 1)
        (tmp_path / "records" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "records" / f"{name}.json").write_text(json.dumps(record))
    rules = [
        {"name": "train", "benchmark": rf"{folder}/train/.*\.tsv$", "gpus": 2},
        {"name": "table", "benchmark": rf"{folder}/table\.tsv$", "gpus": 0},
    ]
    train, table, total = collect_costs(folder, rules).to_dict("records")
    assert train["waiting_hours"] == pytest.approx(0.5 + 1.0)
    assert train["gpu_hours_asked"] == pytest.approx(2 * (60 + 6.5))
    assert (train["tries"], table["tries"], total["tries"]) == (5, 1, 6)
    assert pd.isna(table["waiting_hours"])
    assert total["waiting_hours"] == pytest.approx(1.5)
