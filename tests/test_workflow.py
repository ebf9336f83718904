"""The workflow as Snakemake sees it: its form, the full experiment's plan, what it refuses, and what it reruns."""

import contextlib
import hashlib
import io
import json
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import mido
import pytest
import yaml

from tests.checkout import ROOT, copy_checkout, dry_run, job_counts, snakemake
from tests.compiled import lend_compiled

SYSTEMS = [
    "ground-truth",
    "ground-truth-random-text",
    "amt-unconditional-t1.0",
    "amt-t1.0",
    "amt-weighted-t1.0",
    "llama-1b-t1.0",
    "llama-1b-t1.1",
    "llama-3b-t1.0",
    "llama-3b-t1.1",
    "llama-3b-amt-t1.0",
    "llama-3b-amt-t1.1",
]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    return copy_checkout(tmp_path_factory.mktemp("checkout"))


def last_line(run) -> str:
    """What a user sees above the prompt."""
    return run.stdout.splitlines()[-1]


# Its form


@pytest.mark.parametrize(
    "command",
    [
        ["ruff", "check", "."],
        ["ruff", "format", "--check", "."],
        ["snakefmt", "--check", "Snakefile", "workflow"],
        ["snakemake", "--lint"],
        pytest.param(["mypy"], marks=pytest.mark.slow),
    ],
    ids=" ".join,
)
def test_checks_pass(checkout, command):
    tools = Path(sys.executable).parent  # snakefmt calls shfmt, which is installed beside it
    env = {**os.environ, "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}
    run = subprocess.run(command, cwd=checkout, env=env, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def test_snakefile_is_short():
    assert len((ROOT / "Snakefile").read_text().splitlines()) < 40


def rules() -> dict[str, str]:
    """The text of every rule by its name."""
    found = {}
    for path in sorted((ROOT / "workflow" / "rules").glob("*.smk")):
        parts = re.split(r"^(?:use )?rule (?:\w+ as )?(\w+)(?: with)?:$", path.read_text(), flags=re.MULTILINE)
        found |= dict(zip(parts[1::2], parts[2::2], strict=True))
    return found


def test_a_stage_of_the_library_imports_no_later_stage():
    """CONTRIBUTING's table lists the stages in the order of the data."""
    listed = re.findall(r"^\|.*\| `(\w+)/`.*\|$", (ROOT / "CONTRIBUTING.md").read_text(), flags=re.MULTILINE)
    stages = listed[: listed.index("report") + 1]
    assert len(stages) == 8
    for place, stage in enumerate(stages):
        for path in (ROOT / "workflow/libretto" / stage).rglob("*.py"):
            imported = set(re.findall(r"^\s*(?:from|import) libretto\.(\w+)", path.read_text(), flags=re.MULTILINE))
            assert not imported & {*stages[place + 1 :], "provenance", "standins"}, path


def test_rule_files_import_nothing_slow():
    """Every call of Snakemake and every job of a cluster waits for it."""
    texts = "".join(path.read_text() for path in (ROOT / "workflow" / "rules").glob("*.smk"))
    modules = set(re.findall(r"^from (libretto\S+) import", texts, flags=re.MULTILINE))
    assert len(modules) > 10
    slow = {"matplotlib", "pandas", "pyarrow", "scipy", "torch", "transformers"}
    command = f"import sys, {', '.join(modules)}; print({slow} & sys.modules.keys() or 'none')"
    env = {**os.environ, "PYTHONPATH": str(ROOT / "workflow")}
    run = subprocess.run([sys.executable, "-c", command], env=env, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "none"


def test_the_picture_shows_every_rule_of_the_full_experiment():
    shown = set(re.findall(r"<title>(\w+)</title>", (ROOT / "docs" / "dag.svg").read_text())) - {"g"}
    others = {
        "compose_corpus",
        "make_amt",
        "make_llama",
        "sweep_train",
        "sweep",
        "study",
        "outside_samples",
        "control_samples",
        "split_at_length",
        "unpaired",
        "pack_corpus",
        "test_prompts",
        "embed_clamp2",
    }
    others |= {name for name in rules() if name.startswith(("compose", "preflight"))}
    assert shown == set(rules()) - others


def test_rules_state_log_benchmark_and_the_hash_of_their_code():
    assert len(rules()) > 20
    for name, text in rules().items():
        assert re.search(r"^    log:$", text, flags=re.MULTILINE), name
        assert re.search(r"^    benchmark:$", text, flags=re.MULTILINE), name
        if script := re.search(r'"\.\./scripts/(\S+)"', text):
            assert re.search(rf'code=(lambda wildcards: )?code\(\s*"{re.escape(script[1])}"', text), name
        elif "    params:" in text or "    shell:" in text:  # or else it has those of the rule that it uses
            assert re.search(r'code=(lambda wildcards: )?code\(\s*"\S+\.py"', text), name
            assert ("    shell:" in text) == ("shell:\n        TRAIN_COMMAND" in text), name  # which its code counts


def test_nothing_to_compose_is_reported_in_one_line(checkout):
    run = snakemake(checkout, "--profile", "demo", "--dry-run", "compose")
    assert run.returncode != 0
    assert last_line(run) == (
        "Error: there is nothing to compose: add --config 'prompts=[\"a calm waltz for harp and strings\"]'"
    )


def test_the_slurm_profile_sends_every_rule_with_a_gpu_to_the_gpus():
    profile = yaml.safe_load((ROOT / "slurm/config.yaml").read_text())["set-resources"]
    texts = rules()
    with_gpu = {name for name, text in texts.items() if re.search(r"^        gpu=", text, flags=re.MULTILINE)}
    with_gpu |= {"sweep_train", "compose_generate"}  # use rules that have one
    assert {name for name, resources in profile.items() if resources["slurm_partition"] == "gpu"} == with_gpu


def test_short_jobs_share_places_in_the_queue(checkout, plan):
    printed = dry_run(checkout, "--profile", "slurm")
    assert printed.count("Group job tokenize ") == 1
    assert printed.count("Group job scores ") == job_counts(plan)["score"] == 11


def test_shell_commands_quote_what_comes_from_the_config():
    texts = "".join(path.read_text() for path in (ROOT / "workflow" / "rules").glob("*.smk"))
    commands = re.findall(r'_COMMAND = """\n(.*?)"""', texts, flags=re.DOTALL)
    assert len(commands) == 1
    fields = {field for command in commands for field in re.findall(r"(?<!{){([^{}]+)}", command)}
    quoted_where_they_are_made = {"params.init_from", "params.results"}
    assert {field for field in fields if not field.endswith(":q")} == {
        "threads", "resources.gpu", "resources.nodes", "params.code", "resources.checkpoint_minutes",
        *quoted_where_they_are_made,
    }  # fmt: skip


def test_scripts_are_thin():
    lengths = {path.name: len(path.read_text().splitlines()) for path in (ROOT / "workflow" / "scripts").glob("*.py")}
    assert not {name: lines for name, lines in lengths.items() if lines > 100}


# The full experiment's plan


@pytest.fixture(scope="module")
def plan(checkout):
    return dry_run(checkout)


def test_plan_of_the_full_experiment(plan):
    counts = job_counts(plan)
    assert counts["total"] <= 150
    assert counts["train"] == 5
    assert counts["generate"] == 9
    assert counts["score"] == 11
    assert set(SYSTEMS) <= set(re.findall(r"results/paper/metrics/([^/\s,]+)\.json", plan))


@pytest.mark.slow
def test_plan_needs_neither_soundfont_nor_token(checkout):
    printed = dry_run(checkout, "--config", 'sources={"soundfont": {"path": "nowhere.sf2"}}')
    counts = job_counts(printed)
    assert counts["download_model"] >= 3
    assert counts["missing_soundfont"] == 1
    assert "sources.soundfont.path: there is no nowhere.sf2; correct the path, or install" in printed


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "row", "trained"),
    [
        ("variants: {llama-1b: {temperatures: [1.0, 1.1, 1.25]}}", "llama-1b-t1.25", 0),
        (
            "variants: {amt-3b: {family: amt, base: amt-large, text_encoder: llama-3b, text_states: last, "
            "temperatures: [0.9], training: {batch_size: 16, learning_rate: 1.0e-5, max_steps: 60000}}}",
            "amt-3b-t0.9",
            1,
        ),
    ],
    ids=["temperature", "variant"],
)
def test_config_alone_adds_a_row(checkout, plan, tmp_path, change, row, trained):
    (tmp_path / "more.yaml").write_text(change)
    printed = dry_run(checkout, "--configfile", str(tmp_path / "more.yaml"))
    assert set(re.findall(r"results/paper/metrics/([^/\s,]+)\.json", printed)) >= {*SYSTEMS, row}
    before, after = job_counts(plan), job_counts(printed)
    assert after["train"] == before["train"] + trained
    for rule in ("generate", "render", "score"):
        assert after[rule] == before[rule] + 1


@pytest.mark.slow
def test_fmd_is_a_job_per_row_that_is_compared_where_it_is_on(checkout, plan, tmp_path):
    (tmp_path / "fmd.yaml").write_text("metrics: {fmd: true}\nsources: {models: {clamp2: {path: clamp2.pth}}}")
    on, off = job_counts(dry_run(checkout, "--configfile", str(tmp_path / "fmd.yaml"))), job_counts(plan)
    # The nine that are sampled, and the reference set; the other jobs are those of the run without.
    assert on - off == {"embed_clamp2": 10, "missing_clamp2": 1, "total": 11}
    assert off - on == {}


@pytest.mark.slow
def test_a_variant_reads_the_splits_and_the_start_that_it_names(checkout, tmp_path):
    (tmp_path / "more.yaml").write_text("""\
variants:
  llama-4096: &llama
    {family: llama, base: llama-1b, init: gaussian, chunk_tokens: 4096,
     training: {batch_size: 64, learning_rate: 2.0e-4, max_steps: 9}}
  llama-1024: {<<: *llama, chunk_tokens: 1024}
  music: {<<: *llama, songs: unpaired}
  second: {family: llama, base: llama-1b, start: music, training: {batch_size: 64, learning_rate: 2.0e-4, max_steps: 9}}
""")
    targets = [f"results/paper/{file}" for name in ("llama-4096", "llama-1024", "second") for file in
               (f"train/{name}/best.json", f"metrics/validation/{name}.json", f"train/{name}/folded")]  # fmt: skip
    printed = dry_run(checkout, "--printshellcmds", *targets, "--configfile", str(tmp_path / "more.yaml"))
    counts = job_counts(printed)
    expected = {"train": 4, "validate": 3, "fold": 3, "split": 1, "split_at_length": 1, "unpaired": 1}
    assert {rule: counts[rule] for rule in expected} == expected
    options = r"--train results/paper/data/(\S+) --valid results/paper/data/(\S+) +--base (\S+) .*?checkpoints/(\S+)"
    base = "results/paper/sources/models/llama-1b"
    assert set(re.findall(options, printed, flags=re.DOTALL)) == {
        ("splits/4096/train.parquet", "splits/4096/valid.parquet", base, "llama-4096"),
        ("splits/train.parquet", "splits/valid.parquet", base, "llama-1024"),
        ("unpaired/4096/train.parquet", "unpaired/4096/valid.parquet", base, "music"),
        ("splits/train.parquet", "splits/valid.parquet", "results/paper/train/music/model", "second"),
    }
    valid = re.search(r"Validation loss of llama-4096\nReason: .*?(results/\S*valid.parquet)", printed)
    assert valid[1] == "results/paper/data/splits/4096/valid.parquet"


# What it refuses, in one line and before any job


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config", 'sampling={"topp": 0.9}'], "Error: config, sampling: unknown key 'topp'; do you mean 'top_p'?"),
        (
            [
                "--config",
                f'sources={{"models": {{"../../elsewhere": {{"url": "http://a.org/a", "sha256": "{"0" * 64}"}}}}}}',
            ],
            "Error: config, sources.models: '../../elsewhere' is not a name: 1 to 64 letters (a-z, A-Z), digits,",
        ),
        (
            ["--config", 'sources={"lmd": {"path": "music/lmd_full.tar.gz"}}'],
            "Error: sources.lmd.path: there is no music/lmd_full.tar.gz; correct the path, or remove it",
        ),
        (
            ["--config", 'sources={"soundfont": {"path": "README.md"}}'],  # any file that is there
            "Error: sources.models.llama-1b: meta-llama/Llama-3.2-1B is gated; accept its licence at "
            "https://huggingface.co/meta-llama/Llama-3.2-1B and set HF_TOKEN, or set sources.models.llama-1b.path",
        ),
    ],
    ids=["unknown key", "name outside of results", "missing path", "gated model"],
)
def test_refused_before_any_job(checkout, tmp_path, arguments, message):
    run = snakemake(checkout, "--cores", "1", *arguments, HF_HOME=str(tmp_path))
    assert run.returncode != 0
    assert len([line for line in run.stdout.splitlines() if message in line]) == 1
    assert "Traceback" not in run.stdout
    assert "% done" not in run.stdout
    assert not (checkout / "results").exists()


@pytest.mark.slow
@pytest.mark.parametrize("place", ["more.yaml", "config.yaml"])
def test_a_repeated_key_is_refused(tmp_path, place):
    copy_checkout(tmp_path)
    with open(tmp_path / place, "a") as file:
        file.write("seed: 1\nreport: {listening_samples: 8, listening_samples: 9}\n")
    run = snakemake(tmp_path, "--dry-run", *([] if place == "config.yaml" else ["--configfile", place]))
    assert run.returncode == 1
    assert "Traceback" not in run.stdout
    assert re.fullmatch(
        rf"Error: \S*{place}, line \d+: the key '\w+' is in line \d+ already; remove one", last_line(run)
    )


def test_an_empty_config_is_refused(tmp_path):
    copy_checkout(tmp_path)
    (tmp_path / "config.yaml").write_text("# run: mine\n")
    run = snakemake(tmp_path, "--dry-run")
    assert run.returncode == 1
    assert last_line(run) == "Error: config.yaml has no keys at its top level; write lines such as `run: mine`"


@pytest.mark.slow
def test_names_are_not_patterns(checkout, tmp_path):
    run = snakemake(checkout, "--dry-run", "results/paper/metrics/amt-t1x0.json")  # the dot of amt-t1.0
    assert run.returncode == 1
    assert "MissingRuleException" in run.stdout
    (tmp_path / "hot.yaml").write_text("unconditional: {temperatures: [1.0e+16]}")  # in a pattern, a plus repeats
    planned = dry_run(checkout, "--configfile", str(tmp_path / "hot.yaml"))
    assert "results/paper/metrics/amt-unconditional-t1e+16.json" in planned


@pytest.mark.slow
def test_wrong_checksum_is_reported_in_one_line(checkout, tmp_path):
    """A real download, of a file that the test serves, through the rule and its script."""
    (tmp_path / "lmd_full.tar.gz").write_bytes(b"not what the config says")
    server = subprocess.Popen(
        [sys.executable, "-u", "-m", "http.server", "--bind", "127.0.0.1", "0"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        port = re.search(r"port (\d+)", server.stdout.readline())[1]
        target = "results/checksum/sources/lmd.tar.gz"
        call = ["--cores", "1", target, "--configfile", str(tmp_path / "lmd.yaml")]
        entry = {"url": f"http://127.0.0.1:{port}/lmd_full.tar.gz", "sha256": "0" * 64, "bytes": 24}
        (tmp_path / "lmd.yaml").write_text(json.dumps({"run": "checksum", "sources": {"lmd": entry}}))
        run = snakemake(checkout, *call, NO_PROXY="127.0.0.1")
        assert run.returncode != 0
        message = rf"sources\.lmd: the file from \S+ has SHA-256 [0-9a-f]{{64}}, not {'0' * 64}"
        assert re.search(f"ERROR {message}", run.stdout)
        assert re.match(f"Error: {message}", last_line(run))
        assert "Traceback" not in run.stdout
        assert not (checkout / target).exists()

        entry["sha256"] = hashlib.sha256(b"not what the config says").hexdigest()
        (tmp_path / "lmd.yaml").write_text(json.dumps({"run": "checksum", "sources": {"lmd": entry}}))
        run = snakemake(checkout, *call, NO_PROXY="127.0.0.1")
        assert run.returncode == 0, run.stdout[-3000:]
        assert (checkout / target).read_bytes() == b"not what the config says"
    finally:
        server.terminate()
        server.wait()


# What it reruns


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A checkout of its own in which the first rules have run on an archive of one song; and how to call them again."""
    folder = tmp_path_factory.mktemp("finished")
    checkout = copy_checkout(folder / "checkout")
    lend_compiled(checkout, checkout)
    song = io.BytesIO()
    mido.MidiFile(tracks=[mido.MidiTrack([mido.Message("note_on", note=60, velocity=64, time=0)])]).save(file=song)
    name = hashlib.md5(song.getvalue()).hexdigest()
    member = tarfile.TarInfo(f"lmd_full/{name[0]}/{name}.mid")
    member.size = len(song.getvalue())
    with tarfile.open(folder / "lmd.tar.gz", "w:gz") as archive:
        archive.addfile(member, io.BytesIO(song.getvalue()))
    row = {"location": member.name, "caption": "One note.", "genre": [], "mood": [], "key": "C major"}
    row |= {"time_signature": "4/4", "tempo": 120, "tempo_word": "Allegro", "duration": 1}
    row |= {"instrument_summary": ["Piano"], "chord_summary": ["C"]}
    (folder / "train.json").write_text(json.dumps(row) + "\n")
    sources = {"lmd": {"path": str(folder / "lmd.tar.gz")}, "midicaps": {"path": str(folder / "train.json")}}
    call = ["results/small/data/pairs.parquet", "--config", "run=small", "sources=" + json.dumps(sources)]
    run = snakemake(checkout, "--cores", "1", *call)
    assert run.returncode == 0, run.stdout[-3000:]
    return checkout, call


@contextlib.contextmanager
def changed(path, old="", new="CHANGED = 1\n"):
    """Replace the first `old` with `new`; append it if `old` is empty."""
    content = path.read_text()
    assert old in content
    path.write_text(content.replace(old, new, 1) if old else content + new)
    try:
        yield
    finally:
        path.write_text(content)


@pytest.mark.slow
def test_what_changes_no_result_runs_nothing(finished, tmp_path):
    checkout, call = finished
    for path in (checkout / "workflow").rglob("*.py"):
        os.utime(path)  # as a branch switch does
    (tmp_path / "other.yaml").write_text("sampling: {n: 900}")
    with changed(checkout / "workflow/libretto/generation/sampling.py"):  # which these rules do not import
        assert "Nothing to be done" in dry_run(checkout, *call, "--configfile", str(tmp_path / "other.yaml"))


@pytest.mark.slow
def test_a_changed_module_runs_just_its_rules(finished):
    checkout, call = finished
    with changed(checkout / "workflow/libretto/data/pairs.py"):
        assert set(job_counts(dry_run(checkout, *call))) == {"pair", "total"}


@pytest.mark.slow
def test_a_changed_key_runs_just_the_rules_that_read_it(finished, tmp_path):
    checkout, call = finished
    (tmp_path / "other.yaml").write_text("data: {splits: {train: 0123456789abc, valid: de, test: f}}")
    counts = job_counts(dry_run(checkout, *call, "--configfile", str(tmp_path / "other.yaml")))
    assert set(counts) == {"pair", "total"}


@pytest.mark.slow
def test_a_source_may_go_once_its_results_are_there(finished):
    checkout, call = finished
    archive = checkout.parent / "lmd.tar.gz"
    archive.rename(archive.with_name("elsewhere"))
    assert "Nothing to be done" in dry_run(checkout, *call)
    run = snakemake(checkout, "--cores", "1", *call, "--forcerun", "shard")
    assert run.returncode != 0
    assert f"Error: sources.lmd.path: there is no {archive}; correct the path" in run.stdout
    assert (checkout / "results/small/data/pairs.parquet").exists()
    archive.with_name("elsewhere").rename(archive)
