"""Records, audit and trace: of a small run made by hand, in which each fault is planted; and of the demo."""

import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from libretto.config.digests import content_digest
from libretto.errors import InputError
from libretto.job import Job
from libretto.provenance.audit import audit
from libretto.provenance.records import Records, record_path, write_record
from libretto.provenance.trace import to_svg, to_text, trace
from tests.checkout import ROOT, snakemake

RUN = Path("results/r")


def job(rule, inputs, outputs, wildcard="", **params):
    """A job that has made its outputs of the names of its inputs."""
    for path in outputs:
        is_folder = Path(path).parent.name == "audio" and Path(path).suffix != ".csv"
        file = Path(path, "0000.flac") if is_folder else Path(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{rule} {wildcard} {inputs}")
    log = f"{RUN}/logs/{rule}{wildcard and '/' + wildcard}.log"
    write_record(Job(rule, [log], inputs, outputs, {"seed": 3, **params}), datetime.now(UTC))


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run of six jobs on two systems; its last job lists the SHA-256 of the records."""
    monkeypatch.chdir(tmp_path)
    Path("font.sf2").write_text("a soundfont")
    entry = {"url": "http://example.org/lmd.tar.gz", "sha256": None}
    job("download_lmd", [], ["results/r/sources/lmd.tar.gz"], entry=entry)
    entry["sha256"] = content_digest("results/r/sources/lmd.tar.gz", "digests")
    job("download_lmd", [], ["results/r/sources/lmd.tar.gz"], entry=entry)
    job("embed", [], ["results/r/embeddings/background.parquet"])
    for system in ("a-t1.0", "b-t1.1"):
        inputs = ["results/r/sources/lmd.tar.gz", "font.sf2"]
        job("render", inputs, [f"results/r/audio/{system}", f"results/r/audio/{system}.csv"], system)
        job(
            "score",
            [f"results/r/audio/{system}", "results/r/embeddings/background.parquet"],
            [f"results/r/metrics/{system}.json"],
            system,
        )
    Path("results/r/table.csv").write_text("system,fad\na-t1.0,0.25\nb-t1.1,0.5\n")
    metrics = [f"results/r/metrics/{system}.json" for system in ("a-t1.0", "b-t1.1")]
    write_record(Job("table", ["results/r/logs/table.log"], metrics, ["results/r/table.csv"], {}), datetime.now(UTC))
    Path("results/r/provenance").mkdir()
    listed = subprocess.run("sha256sum $(find records -name '*.json')", shell=True, cwd=RUN, capture_output=True)
    Path("results/r/provenance/sha256sums.txt").write_bytes(listed.stdout)
    outputs = ["results/r/provenance/sha256sums.txt"]
    write_record(
        Job("provenance", ["results/r/logs/provenance.log"], ["results/r/table.csv"], outputs, {}), datetime.now(UTC)
    )
    for place in ("logs/x.log", "benchmarks/x.tsv", "checkpoints/a/model", "audio/a-t1.0/.snakemake_timestamp"):
        (RUN / place).parent.mkdir(parents=True, exist_ok=True)
        (RUN / place).touch()
    return RUN


def found(run):
    return [(finding.kind, finding.path.removeprefix("results/r/")) for finding in audit(run)]


def test_records_lie_beside_the_logs():
    assert record_path("results/demo/logs/score/amt-t1.0.log") == Path("results/demo/records/score/amt-t1.0.json")


def test_jobs_that_end_at_once_can_keep_the_same_text(run):
    code = "from pathlib import Path\nfrom libretto.provenance.records import _kept\n"
    code += "for i in range(300): _kept(Path(f'kept/{i}'), 'a text')"
    env = {**os.environ, "PYTHONPATH": str(ROOT / "workflow")}
    jobs = [subprocess.Popen([sys.executable, "-c", code], env=env) for _ in range(4)]
    assert [job.wait() for job in jobs] == [0, 0, 0, 0]
    assert len([path for path in Path("kept").rglob("*") if path.is_file()]) == 300


def test_an_untouched_run_passes_also_as_a_copy(run, tmp_path):
    assert found(run) == []
    shutil.copytree(run, tmp_path / "elsewhere")
    assert found(tmp_path / "elsewhere") == []


FAULTS = {
    "a byte of a FLAC": ("audio/a-t1.0/0000.flac", "x", [("changed", "audio/a-t1.0")]),
    "a FLAC more": ("audio/a-t1.0/0001.flac", "", [("changed", "audio/a-t1.0")]),
    "an edited score": ("metrics/a-t1.0.json", "{}", [("changed", "metrics/a-t1.0.json")]),
    "a deleted score": ("metrics/b-t1.1.json", None, [("missing", "metrics/b-t1.1.json")]),
    "a foreign file": ("metrics/c.json", "", [("foreign", "metrics/c.json")]),
    "another soundfont": ("../../font.sf2", "another", [("source", "font.sf2")]),
    "another archive": ("sources/lmd.tar.gz", "x", [("changed", "sources/lmd.tar.gz")]),
    "a changed record": ("records/score/a-t1.0.json", "+ ", [("record", "records/score/a-t1.0.json")]),
    "a deleted record": ("records/table.json", None, [("foreign", "table.csv"), ("record", "records/table.json")]),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_found_and_nothing_else(run, fault):
    name, content, expected = FAULTS[fault]
    path = run / name
    if content is None:
        path.unlink()
    else:
        path.write_text(path.read_text() + content[1:] if content.startswith("+") else content)
    assert found(run) == sorted(expected)


def test_a_score_that_was_read_after_it_had_been_edited(run):
    """As after a rerun of the table alone: its own record is whole, and tells that it read something else."""
    path = Path("results/r/metrics/a-t1.0.json")
    path.write_text("{}")
    write_record(
        Job("table", ["results/r/logs/table.log"], [str(path)], ["results/r/table.csv"], {}), datetime.now(UTC)
    )
    kinds = found(run)
    assert ("changed", "metrics/a-t1.0.json") in kinds
    assert ("input", "metrics/a-t1.0.json") in kinds


def test_a_download_that_is_not_what_the_config_pins(run):
    job("download_lmd", [], ["results/r/sources/lmd.tar.gz"], entry={"sha256": 64 * "0"})
    assert ("source", "sources/lmd.tar.gz") in found(run)


def test_a_result_that_another_rule_makes_now(run):
    """As when a row becomes one of another kind: the old record, whose name sorts last, is the older one."""
    job("zzz_samples", [], ["results/r/metrics/a-t1.0.json"], "a-t1.0")
    job("score", ["results/r/audio/a-t1.0"], ["results/r/metrics/a-t1.0.json"], "a-t1.0")
    assert Records(run).of("results/r/metrics/a-t1.0.json")["rule"] == "score"
    assert ("changed", "metrics/a-t1.0.json") not in found(run)


def test_what_no_final_result_comes_from_is_not_asked_about(run):
    """As what a dropped row, or a preflight, has left."""
    job("score", ["results/r/sources/lmd.tar.gz"], ["results/r/metrics/dropped.json"], "dropped")
    Path("results/r/metrics/dropped.json").write_text("edited")
    assert found(run) == []


def test_code_is_told_by_its_commit(run):
    Path("workflow").mkdir()
    Path("workflow/rule.smk").write_text("a rule")
    inputs = ["results/r/table.csv", "workflow/rule.smk"]
    outputs = ["results/r/provenance/sha256sums.txt"]
    write_record(Job("provenance", ["results/r/logs/provenance.log"], inputs, outputs, {}), datetime.now(UTC))
    Path("workflow/rule.smk").write_text("a rule  # a comment")
    assert found(run) == []


def test_a_result_taken_from_an_earlier_training_keeps_its_record(run):
    result, first = ["results/r/train/amt/best.json"], Path("results/r/checkpoints/amt/finished/record.json")
    Path(result[0]).parent.mkdir(parents=True)
    Path(result[0]).write_text("a model")
    linked = Job("train", ["results/r/logs/train/amt.log"], [], result, {})
    write_record(linked, datetime(2026, 1, 1, tzinfo=UTC), first)
    write_record(linked, datetime(2026, 2, 2, tzinfo=UTC), first)
    assert Records(run).of(result[0])["started"].startswith("2026-01-01")


def test_texts_that_records_share_are_named_after_their_content(run):
    (text,) = (run / "records/environments").iterdir()
    text.write_text("edited")
    assert found(run) == [("record", f"records/environments/{text.name}")]


def test_a_folder_without_records(tmp_path):
    (finding,) = audit(tmp_path)
    assert "holds no records" in finding.text


def test_a_trace_leads_from_a_figure_to_the_source(run):
    text = to_text(trace(run / "table.csv", "a-t1.0", "fad"))
    assert text.startswith("fad of a-t1.0: 0.25\n")
    order = ["table.csv", "metrics/a-t1.0.json", "audio/a-t1.0", "font.sf2", "sources/lmd.tar.gz", "http://example.org"]
    places = [text.index(name) for name in order]
    assert places == sorted(places)
    assert "embeddings/background.parquet" in text  # what FAD compares with
    assert "b-t1.1" not in text
    assert "seed 3" in text
    assert "b-t1.1" in to_text(trace(run / "table.csv"))
    svg = to_svg(trace(run / "table.csv", "a-t1.0", "fad"))
    assert svg.count("<text") == len(text.splitlines())


@pytest.mark.parametrize(
    ("path", "system", "message"),
    [
        ("nowhere/table.csv", None, "is in no run's folder"),
        ("results/r/metrics/c.json", None, "no job of the run made it"),
        ("results/r/table.csv", "c", "has no fad of c"),
        ("results/r/metrics/a-t1.0.json", "a-t1.0", "has no rows of systems"),
    ],
)
def test_what_cannot_be_traced(run, path, system, message):
    with pytest.raises(InputError, match=message):
        list(trace(path, system, "fad" if system else None))


def test_the_command(run):
    def call(*arguments):
        env = {**os.environ, "PYTHONPATH": str(ROOT / "workflow")}
        command = [sys.executable, "-m", "libretto", *arguments]
        return subprocess.run(command, env=env, capture_output=True, text=True)

    passed = call("audit", "results/r")
    assert (passed.returncode, passed.stdout) == (0, "Everything is as the jobs of the run made it.\n")
    Path("results/r/new.txt").touch()
    failed = call("audit", "results/r")
    assert (failed.returncode, failed.stdout) == (1, "foreign  results/r/new.txt: no job made it\n1 findings\n")
    assert call("trace", "results/r/table.csv", "--svg", "t.svg").returncode == 0
    assert Path("t.svg").read_text().startswith("<svg")
    assert call("trace", "x.csv").stderr.startswith("Error: x.csv is in no run's folder")


def test_digests_are_kept_until_a_file_changes(tmp_path):
    path, cache = tmp_path / "file", tmp_path / "cache"
    path.write_text("one")
    first = content_digest(path, cache)
    stamp = path.stat().st_mtime
    path.write_text("two")
    os.utime(path, (stamp, stamp))
    assert content_digest(path, cache) != first
    path.write_text("one")
    assert content_digest(path, cache) == first
    path.unlink()
    assert content_digest(path, cache) == first
    assert content_digest(tmp_path / "never", cache) is None


@pytest.mark.slow
@pytest.mark.xdist_group("demo")
def test_the_demo_passes_and_its_faults_are_found(demo):
    run = demo / "results/demo"
    assert audit(run) == []
    text = to_text(trace(run / "table.csv", "amt-weighted-t1.0", "fad"))
    for name in ("metrics/amt-weighted-t1.0.json", "embeddings/amt-weighted-t1.0", "train/amt-weighted/model",
                 "standins/demo/lmd_full.tar.gz", "compose_corpus", "make_amt"):  # fmt: skip
        assert name in text
    assert "train/llama-1b" not in text
    path = run / "metrics/llama-1b-t1.1.json"
    content = path.read_text()
    path.write_text(json.dumps(json.loads(content) | {"fad": 0.001}))
    assert [(finding.kind, finding.path) for finding in audit(run)] == [
        ("changed", "results/demo/metrics/llama-1b-t1.1.json")
    ]
    laundered = snakemake(demo, "--profile", "demo")  # its table has the edited score
    path.write_text(content)
    assert laundered.returncode != 0
    assert "metrics/llama-1b-t1.1.json: changed since a job made it" in laundered.stdout
    assert snakemake(demo, "--profile", "demo").returncode == 0
    assert audit(run) == []
