"""What a change makes a finished run do again: each change is made, and Snakemake's own dry run says what follows."""

import contextlib
import json
import os
import re
import shutil
from pathlib import Path

import pytest
import yaml

from libretto.provenance.results import read_records
from tests.checkout import copy_checkout, dry_run, job_counts
from tests.finished import finish
from tests.test_workflow import changed

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("reruns")]

TABLE = {"table": 1, "figure_scores": 1, "figure_correlations": 1, "listening_page": 1, "model_card": 3}
SCORED = {"score": 11, **TABLE}
EMBEDDED = {"embed_fad": 10, **SCORED, "score": 9}  # the ground truth is not compared with itself
RENDERED = {"render": 11, "embed_fad": 10, **SCORED}


def sampled(n, rendered=None, **more):
    """What follows from `n` sampled rows."""
    n_rendered = rendered or n
    return {"generate": n, "copied": n, "render": n_rendered, "embed_fad": n_rendered, "score": n, **TABLE, **more}


FIGURES = {"figure_losses": 1, "figure_layer_weights": 1}
TRAINED = sampled(8, train=5, validate=5, fold=3, layer_weights=1, **FIGURES)
AMT = sampled(3, train=2, validate=2, layer_weights=1, **FIGURES)  # and the row without text
LLAMA = sampled(6, train=3, validate=3, fold=3, figure_losses=1)
# All that is made of the data: the reference set and the ground truth are sampled, too.
SPLIT = {"train": 5, "validate": 5, "fold": 3, "layer_weights": 1, "ground_truth_samples": 3, "generate": 9}
SPLIT |= {"copied": 11, **RENDERED, **FIGURES}
SPLIT |= {"split": 1, "summarize": 1, "figure_dataset": 1}
TOKENIZED = {"tokenize": 16, **SPLIT}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A checkout with a finished demo, whose soundfont is a small file of the user's own; and the options of a call."""
    folder = tmp_path_factory.mktemp("reruns")
    checkout = copy_checkout(folder / "checkout")
    (folder / "font.sf2").write_text("a soundfont")
    (checkout / "prompts.csv").write_text("caption\nA waltz.\n")
    (folder / "own.yaml").write_text(yaml.safe_dump({"sources": {"soundfont": {"path": str(folder / "font.sf2")}}}))
    options = ["--profile", "demo", "--configfile", "demo/experiment.yaml", str(folder / "own.yaml")]
    finish(checkout, *options)
    assert "Nothing to be done" in dry_run(checkout, *options)
    return checkout, options


def planned(run, *arguments):
    """Jobs by rule that a dry run plans."""
    checkout, options = run
    return jobs_in(dry_run(checkout, *options, *arguments))


def jobs_in(printed):
    """Jobs by rule, without those that follow from any change: cost and provenance."""
    counts = job_counts(printed)
    return {rule: n for rule, n in counts.items() if rule not in ("all", "cost", "provenance", "total")}


def planned_after(run, path, old, new):
    with changed(run[0] / path, old, new):
        return planned(run)


def font(checkout):
    return checkout.parent / "font.sf2"


# Changes of the checkout: what, which file, what is replaced by what, and what must follow.

LIBRARY, RULES, TEMPLATES = (f"workflow/{name}" for name in ("libretto", "rules", "templates"))
SAME_CODE = [
    ("README.md", "", "More.\n"),
    ("config.yaml", "", "# a comment\n"),
    ("Snakefile", "", "# a comment\n"),
    (f"{RULES}/scores.smk", "", "# a comment\n"),
    (f"{RULES}/scores.smk", "mem_mb=grows(4000)", "mem_mb=grows(5000)"),
    (f"{RULES}/training.smk", "threads: 8", "threads: 4"),
    (f"{LIBRARY}/training/trainer.py", '"""', '"""Said otherwise. '),
    (f"{LIBRARY}/training/trainer.py", "", "# a comment\n"),
    (f"{LIBRARY}/log.py", 'mode: str = "w"', 'mode: str = "a"'),
    (f"{LIBRARY}/errors.py", "InputError(ValueError)", "InputError(RuntimeError)"),
    (f"{LIBRARY}/audio/embeddings/vggish.py", "", "CHANGED = 1\n"),  # the demo uses logmel
    (f"{LIBRARY}/scores/controls.py", "", "CHANGED = 1\n"),  # no row of the demo is a control
    (f"{LIBRARY}/generation/selection.py", "", "CHANGED = 1\n"),  # nor the best of several
    (f"{LIBRARY}/preflight/device.py", "", "CHANGED = 1\n"),
    ("workflow/schemas/config.schema.yaml", "The listening page.", "The page."),
    ("workflow/captions/table.rst", "", "More.\n"),
    (f"{TEMPLATES}/compose.html", "", "\n"),
    ("envs/report.yaml", "", "# a comment\n"),
    ("uv.lock", 'name = "tqdm"\nversion = "', 'name = "tqdm"\nversion = "9'),  # shows progress
    ("uv.lock", 'name = "urllib3"\nversion = "', 'name = "urllib3"\nversion = "9'),  # no code imports it
    ("slurm/config.yaml", "", "# a comment\n"),
]
CHANGED_CODE = [
    (f"{LIBRARY}/models/amt.py", "", "CHANGED = 1\n", AMT),
    (f"{LIBRARY}/models/encoder.py", "", "CHANGED = 1\n", AMT),
    (f"{LIBRARY}/models/llama.py", "", "CHANGED = 1\n", LLAMA | sampled(7)),
    (f"{LIBRARY}/training/variant.py", "LOG_STEPS = 10", "LOG_STEPS = 11", TRAINED),
    (f"{LIBRARY}/training/validation.py", "BATCH = 16", "BATCH = 8", TRAINED),
    (f"{LIBRARY}/generation/sampling.py", "", "CHANGED = 1\n", sampled(9)),
    (f"{LIBRARY}/audio/render.py", "", "CHANGED = 1\n", RENDERED),
    (f"{LIBRARY}/audio/embeddings/logmel.py", "", "CHANGED = 1\n", EMBEDDED),
    (f"{LIBRARY}/tokens/analysis.py", "", "CHANGED = 1\n", SCORED),
    (f"{LIBRARY}/scores/copied.py", "RUN = 48", "RUN = 49", {"copied": 11, **SCORED}),
    (f"{LIBRARY}/scores/frechet.py", "", "CHANGED = 1\n", SCORED),
    (f"{LIBRARY}/data/tokenization.py", "", "CHANGED = 1\n", TOKENIZED),
    (f"{LIBRARY}/report/listening.py", "", "CHANGED = 1\n", {"listening_page": 1}),
    (f"{RULES}/training.smk", "launcher=(python)", "launcher=(python -O)", TRAINED),
    ("uv.lock", 'name = "accelerate"\nversion = "', 'name = "accelerate"\nversion = "9', None),
    ("uv.lock", 'name = "soundfile"\nversion = "', 'name = "soundfile"\nversion = "9', RENDERED),
    ("uv.lock", 'name = "jinja2"\nversion = "', 'name = "jinja2"\nversion = "9', TABLE),
    (f"{TEMPLATES}/index.html", "", "\n", {"listening_page": 1}),
    (f"{TEMPLATES}/model_card.md", "", "\n", {"model_card": 3}),
    ("workflow/schemas/config.schema.yaml", "gradient_checkpointing: {type: boolean, default: false",
     "gradient_checkpointing: {type: boolean, default: true", TRAINED),
]  # fmt: skip


def name_of(change):
    path, old, new, *_ = change
    return f"{path}: {(old or new).strip()[:30]}"


def test_changes_that_no_result_depends_on_run_nothing(run):
    """All at once; where something would run, each by itself."""
    with contextlib.ExitStack() as changes:
        for path, old, new in SAME_CODE:
            changes.enter_context(changed(run[0] / path, old, new))
        plan = planned(run)
    culprits = [name_of(change) for change in SAME_CODE if plan and planned_after(run, *change)]
    assert plan == {}, culprits


@pytest.mark.parametrize("change", CHANGED_CODE, ids=name_of)
def test_changed_code_runs_what_uses_it(run, change):
    *change, expected = change
    plan = planned_after(run, *change)
    if expected is None:  # transformers' own: all that imports it
        assert {"train", "validate", "generate", "fold"} < plan.keys()
        assert not {"tokenize", "ground_truth_samples", "split"} & plan.keys()
    else:
        assert plan == expected


def test_each_file_that_the_table_is_made_with_makes_it_again(run):
    """Of all that changed at once, Snakemake names the files that it runs the rule for."""
    checkout, options = run
    files = {f"workflow/reference/{name}.csv" for name in ("table3", "elsewhere")}
    files |= {f"{TEMPLATES}/{name}" for name in ("table.html", "scores.html", "style.css", "player.js")}
    with contextlib.ExitStack() as changes:
        for path in files:
            changes.enter_context(changed(checkout / path, "", "\n"))
        printed = dry_run(checkout, *options)
    assert jobs_in(printed) == TABLE
    assert files in [set(names.split(", ")) for names in re.findall(r"Updated input files: (.*)", printed)]


def test_the_hash_seed_runs_everything(run):
    with changed(run[0] / f"{RULES}/common.smk", '"PYTHONHASHSEED": "0"', '"PYTHONHASHSEED": "1"'):
        assert planned(run) == planned(run, "--forceall")


def test_touched_files_run_nothing(run):
    checkout = run[0]
    for path in [checkout / "Snakefile", *(checkout / "workflow").rglob("*.*")]:
        os.utime(path)
    assert planned(run) == {}


# Changes of the config


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"checkpoint_minutes": 5, "variants": {"llama-1b": {"chunk_tokens": 190}}}, {}),  # 190 is data.chunk_tokens
        ({"sampling": {"top_p": 0.8}}, sampled(9)),
        ({"sampling": {"max_new_tokens": 120}}, sampled(9)),
        ({"variants": {"amt": {"sampling": {"best_of": 2}}}}, sampled(1, figure_scores=1)),
        ({"audio": {"trim_db": 40}}, RENDERED),
        ({"metrics": {"fad_sub": {"draws": 6}}}, SCORED),
        ({"report": {"listening_samples": 3}}, {"listening_page": 1}),
        ({"variants": {"llama-1b": {"temperatures": [1.0, 1.1, 1.2]}}}, sampled(1)),
        (
            {"variants": {"amt": {"training": {"learning_rate": 2.0e-3}}}},
            sampled(1, train=1, validate=1, figure_losses=1),
        ),
        ({"systems": {"band": {"control": "constant-band"}}},
         {"control_samples": 1, "copied": 1, "render": 1, "embed_fad": 1, "score": 1, **TABLE}),
        ({"variants": {"llama-1b": {"songs": "unpaired"}}},
         sampled(2, unpaired=1, train=1, validate=1, fold=1, figure_losses=1)),
        ({"sources": {"test_prompts": {"path": "prompts.csv"}}}, sampled(9, test_prompts=1, score=11)),
        ({"text": {"description_dropout": 0.2}}, TRAINED),
        ({"variants": {"llama-1b": {"chunk_tokens": 400}}},
         sampled(2, split_at_length=1, train=1, validate=1, fold=1, figure_losses=1)),
        ({"data": {"chunk_tokens": 160}, "sampling": {"max_new_tokens": 159}}, SPLIT),
    ],
    ids=str,
)  # fmt: skip
def test_a_changed_key_runs_what_reads_it(run, tmp_path, change, expected):
    checkout, options = run
    (tmp_path / "other.yaml").write_text(yaml.safe_dump(change))
    assert planned((checkout, [*options, str(tmp_path / "other.yaml")])) == expected


def test_another_seed_runs_all_that_draws(run, tmp_path):
    checkout, options = run
    (tmp_path / "other.yaml").write_text("seed: 1")
    plan = planned((checkout, [*options, str(tmp_path / "other.yaml")]))
    assert plan == TRAINED | {"generate": 9, "copied": 11, "ground_truth_samples": 3} | RENDERED


def test_other_threads_and_memory_run_nothing(run):
    assert planned(run, "--set-threads", "train=2", "--set-resources", "render:mem_mb=9000") == {}


def test_the_order_of_keys_runs_nothing(run, tmp_path):
    checkout, (*options, own) = run
    path = checkout / "demo/experiment.yaml"
    settings = yaml.safe_load(path.read_text())
    backwards = {key: settings[key] for key in reversed(settings)}
    (tmp_path / "backwards.yaml").write_text(yaml.safe_dump(backwards, sort_keys=False))
    assert planned((checkout, [*options[:-1], str(tmp_path / "backwards.yaml"), own])) == {}


def test_how_embeddings_start_is_not_asked_when_sampling(run, tmp_path):
    """Of itself: the model, which another start makes another one, is taken as it is."""
    checkout, options = run
    (tmp_path / "other.yaml").write_text("variants: {llama-3b: {init: amt, init_from: amt-large}}")
    target = ["--allowed-rules", "generate", "--", "results/demo/samples/llama-3b-t1.0/tokens.parquet"]
    assert planned((checkout, [*options, str(tmp_path / "other.yaml")]), *target) == {}


# Changes of files


@contextlib.contextmanager
def restored(path: Path):
    """The file, or folder, as it was before, time stamps included."""
    kept = path.with_name(f"{path.name}.kept")
    copy = shutil.copytree if path.is_dir() else shutil.copy2
    copy(path, kept)
    try:
        yield
    finally:
        if path.is_dir():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        kept.rename(path)


@pytest.mark.parametrize("age", [-1000, 0, 1000])
def test_another_soundfont_is_noticed_whatever_its_time_stamp(run, age):
    path = font(run[0])
    time = path.stat().st_mtime + age
    with restored(path):
        path.write_text("another one")
        os.utime(path, (time, time))
        assert planned(run) == RENDERED


def test_the_same_soundfont_with_another_time_stamp_runs_nothing(run):
    path = font(run[0])
    with restored(path):
        os.utime(path)
        assert planned(run) == {}


def test_a_soundfont_may_go_once_its_results_are_there(run):
    path = font(run[0])
    assert planned(run) == {}  # sees it as it is: the call before may have seen another one
    path.rename(path.with_name("elsewhere"))
    assert planned(run) == {}
    path.with_name("elsewhere").rename(path)


def test_files_made_and_folders_linked_again_as_they_were_run_nothing(run):
    files = ["train/amt/best.json", "samples/amt-t1.0/tokens.parquet", "data/splits/train.parquet"]
    folders = ["train/amt/model", "samples/amt-t1.0/midi", "audio/amt-t1.0"]
    with contextlib.ExitStack() as stack:
        for name in files + folders:
            path = run[0] / "results/demo" / name
            stack.enter_context(restored(path))
            for file in [*path.rglob("*"), path]:
                os.utime(file)
        assert planned(run) == {}


def test_other_content_runs_what_reads_it(run):
    path = run[0] / "results/demo/samples/amt-t1.0/tokens.parquet"
    with restored(path):
        path.write_text("other tokens")
        assert planned(run) == {"copied": 1, "render": 1, "embed_fad": 1, "score": 1, **TABLE}


@pytest.mark.parametrize(
    ("name", "expected"),
    [("table.tex", TABLE), ("report/figures/losses.svg", {"figure_losses": 1, "listening_page": 1})],
)
def test_a_removed_result_is_made_again(run, name, expected):
    path = run[0] / "results/demo" / name
    with restored(path):
        path.unlink()
        assert planned(run) == expected


@pytest.mark.parametrize("copy", [shutil.copy2, shutil.copyfile])
def test_a_copy_of_the_checkout_runs_nothing(run, tmp_path, copy):
    checkout, options = run
    unkept = shutil.ignore_patterns("*.kept")
    shutil.copytree(checkout, tmp_path / "copy", symlinks=True, copy_function=copy, ignore=unkept)
    assert planned((tmp_path / "copy", options)) == {}


def test_results_without_snakemakes_folder_know_what_has_changed(run, tmp_path):
    """Snakemake's records are kept with the results; here they are written as the last rule does."""
    checkout, options = run
    copy = tmp_path / "copy"
    shutil.copytree(checkout, copy, symlinks=True, ignore=shutil.ignore_patterns("*.kept", "metadata"))
    records = read_records(checkout / ".snakemake/metadata")
    (copy / "results/demo/provenance/metadata.json").write_text(json.dumps(records))
    assert planned((copy, options)) == {}
    assert read_records(copy / ".snakemake/metadata") == records
    (tmp_path / "other.yaml").write_text("audio: {trim_db: 40}")
    assert planned((copy, [*options, str(tmp_path / "other.yaml")])) == RENDERED
