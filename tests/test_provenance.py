import base64
import hashlib
import json
import subprocess
from pathlib import Path

import pytest
from rocrate.rocrate import ROCrate

from libretto.provenance.crate import RunCrate, git_commit, locked_versions
from libretto.provenance.results import Job, checksum_list, find_results, read_contents, read_records

SAMPLES = "results/r/samples/(?P<system>a|b)"
RULES = [
    {"name": "generate", "outputs": [rf"{SAMPLES}/tokens\.parquet$", f"{SAMPLES}/midi$"]},
    {"name": "table", "outputs": [r"results/r/table\.csv$"]},
]
LOCK = """
version = 1

[[package]]
name = "libretto"
version = "0.1.0"
source = { virtual = "." }

[[package]]
name = "numpy"
version = "1.26.4"
source = { registry = "https://pypi.org/simple" }

[[package]]
name = "snakemake"
version = "9.27.1"
source = { registry = "https://pypi.org/simple" }
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A small checkout with a finished run in it; the working directory."""
    monkeypatch.chdir(tmp_path)
    files = {
        "Snakefile": "rule all: pass",
        "workflow/scripts/generate.py": "print()",
        "uv.lock": LOCK,
        "lmd.tar.gz": "archive",
        "results/r/samples/a/tokens.parquet": "tokens a",
        "results/r/samples/a/midi/0000.mid": "midi 0",
        "results/r/samples/a/midi/0001.mid": "midi 1",
        "results/r/samples/old/tokens.parquet": "of an earlier config",
        "results/r/table.csv": "system,fad\n",
        "results/r/logs/table.log": "log",
        "results/r/provenance/config.yaml": "run: r\n",
    }
    for name, text in files.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text)
    return tmp_path


def sha256(text):
    return hashlib.sha256(text.encode()).hexdigest()


def test_results_are_the_outputs_of_the_rules_and_nothing_else(run):
    job = Job("generate", (("system", "a"),))
    assert find_results("results/r", RULES) == {
        "results/r/samples/a/midi": job,
        "results/r/samples/a/tokens.parquet": job,
        "results/r/table.csv": Job("table"),
    }
    assert job.name == "generate system=a"


def test_contents_of_files_and_folders(run):
    contents = read_contents(["results/r/table.csv", "results/r/samples/a/midi"], threads=2)
    assert contents["results/r/table.csv"].sha256 == sha256("system,fad\n")
    folder = contents["results/r/samples/a/midi"]
    assert folder.size == 12
    assert folder.files == {"0000.mid": sha256("midi 0"), "0001.mid": sha256("midi 1")}
    listing = subprocess.run(["sha256sum", "0000.mid", "0001.mid"], cwd="results/r/samples/a/midi", capture_output=True)
    assert folder.sha256 == hashlib.sha256(listing.stdout).hexdigest()


def test_checksum_list_is_read_by_sha256sum_and_finds_a_changed_file(run):
    contents = read_contents([*find_results("results/r", RULES), "lmd.tar.gz"], threads=1)
    text = checksum_list(contents, "results/r")
    assert [line.split("  ")[1] for line in text.splitlines()] == [
        "samples/a/midi/0000.mid",
        "samples/a/midi/0001.mid",
        "samples/a/tokens.parquet",
        "table.csv",
    ]
    Path("sums").write_text(text)
    check = ["sha256sum", "--check", "--quiet", str(run / "sums")]
    assert subprocess.run(check, cwd="results/r").returncode == 0
    Path("results/r/samples/a/midi/0001.mid").write_text("midi 2")
    assert subprocess.run(check, cwd="results/r", capture_output=True).returncode == 1


def test_records_are_read_by_output_path_long_names_too(tmp_path):
    assert read_records(tmp_path / "none") == {}
    long = "results/r/" + "x" * 300
    name = base64.b64encode(long.encode()).decode()
    (tmp_path / f"@{name[:250]}").mkdir()
    (tmp_path / f"@{name[:250]}" / name[250:]).write_text('{"rule": "long"}')
    (tmp_path / base64.b64encode(b"results/r/table.csv").decode()).write_text('{"rule": "table"}')
    assert read_records(tmp_path) == {long: {"rule": "long"}, "results/r/table.csv": {"rule": "table"}}


def test_versions_and_commit(run, request):
    assert locked_versions("uv.lock") == {"numpy": "1.26.4", "snakemake": "9.27.1"}
    assert len(locked_versions(request.config.rootpath / "uv.lock")) > 50
    assert git_commit(run) is None
    for command in (
        ["init", "-q"],
        ["add", "Snakefile"],
        ["-c", "user.name=n", "-c", "user.email=e", "commit", "-qm", "m"],
    ):
        subprocess.run(["git", *command], check=True)
    commit = git_commit(run)
    assert len(commit) == 40
    Path("Snakefile").write_text("changed")
    assert git_commit(run) == f"{commit}-dirty"


def write_crate(records):
    results = find_results("results/r", RULES)
    config, code = "results/r/provenance/config.yaml", "workflow/scripts/generate.py"
    paths = ["Snakefile", code, "uv.lock", config, str(Path("lmd.tar.gz").absolute()), *results]
    crate = RunCrate("r", "results/r/provenance", read_contents(paths, threads=1))
    crate.add_file("Snakefile", ["SoftwareSourceCode", "ComputationalWorkflow"])
    crate.add_file(code, ["SoftwareSourceCode"])
    crate.add_file(paths[4], name="sources.lmd", version="1")
    for path in ["uv.lock", config, *results]:
        crate.add_file(path)
    crate.set_workflow("Snakefile", ["Snakefile", code], "abc", "uv.lock", locked_versions("uv.lock"))
    tools = {"generate": code, "table": "Snakefile"}
    crate.add_jobs(results, records, tools, config, [paths[4]])
    crate.write()
    return Path("results/r/provenance/ro-crate-metadata.json")


def test_crate_is_whole_and_names_the_job_of_every_file(run):
    where = {"host": "node1", "commit": {"id": "abc"}}
    times = [f"1970-01-01T00:{time}+00:00" for time in ("00:00", "01:00", "01:30")]
    records = {
        "results/r/samples/a/tokens.parquet": {
            **{"inputs": {"elsewhere": "0"}, "started": times[0], "ended": times[1]},
            **where,
        },
        "results/r/table.csv": {
            **{"inputs": {"results/r/samples/a/midi": "0"}, "started": times[1], "ended": times[2]},
            **where,
        },
    }
    path = write_crate(records)
    crate = ROCrate(path.parent)
    assert crate.mainEntity.id == "../../../Snakefile"
    assert crate.mainEntity["version"] == "abc"
    assert crate.root_dataset["datePublished"] == "1970-01-01T00:01:30+00:00"

    graph = {entity["@id"]: entity for entity in json.loads(path.read_text())["@graph"]}

    def references(value):
        if isinstance(value, dict):
            yield from [value["@id"]] if set(value) == {"@id"} else (r for v in value.values() for r in references(v))
        elif isinstance(value, list):
            yield from (r for v in value for r in references(v))

    outside = {"https://w3id.org/ro/crate/1.1"}
    named = {reference for entity in graph.values() for reference in references(entity)} - outside
    assert {name for name in named if not name.startswith("https://")} <= set(graph)

    for entity in graph.values():
        if "sha256" in entity and entity["@type"] != "Dataset":
            file = (
                Path(entity["@id"].removeprefix("file://")) if "://" in entity["@id"] else path.parent / entity["@id"]
            )
            assert hashlib.sha256(file.read_bytes()).hexdigest() == entity["sha256"]

    table = graph["#job-table"]
    assert table["object"] == {"@id": "../samples/a/midi/"}
    assert table["result"] == {"@id": "../table.csv"}
    assert (table["startTime"], table["endTime"]) == ("1970-01-01T00:01:00+00:00", "1970-01-01T00:01:30+00:00")
    generate = graph["#job-generate-system%3Da"]
    assert "object" not in generate
    assert generate["instrument"] == {"@id": "../../../workflow/scripts/generate.py"}
    made = [r for name, entity in graph.items() if name.startswith("#job") for r in references(entity["result"])]
    assert sorted(made) == ["../samples/a/midi/", "../samples/a/tokens.parquet", "../table.csv"]
    assert len(graph["#run"]["object"]) == 2
    assert table["description"] == "A job of the rule table on node1, commit abc"


def test_crate_without_records_and_twice_the_same(run):
    first = write_crate({}).read_bytes()
    assert b"startTime" not in first
    assert write_crate({}).read_bytes() == first
