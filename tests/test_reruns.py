"""What a change makes the finished demo run again: Snakemake's own answer, by dry runs."""

import contextlib

import pytest

from tests.checkout import ROOT, dry_run, job_counts
from tests.test_workflow import changed

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("demo")]

TEMPLATES = ROOT / "workflow" / "templates"
TABLE = {"table", "figure_scores", "listening_page", "model_card"}
# What depends on a trained model, and how many jobs each rule has for the five variants and their eight systems.
TRAINED = {"train": 5, "validate": 5, "fold": 3, "layer_weights": 1, "generate": 8, "render": 8, "embed_fad": 8}
TRAINED |= {"score": 8, "figure_losses": 1, "figure_layer_weights": 1, **dict.fromkeys(TABLE, 1), "model_card": 3}


def planned(demo, *arguments):
    """Jobs by rule, without those that follow from any change: cost and provenance."""
    counts = job_counts(dry_run(demo, "--profile", "demo", *arguments))
    assert counts.pop("provenance") == counts.pop("all") == 1
    return {rule: n for rule, n in counts.items() if rule not in ("cost", "total")}


def test_another_comment_or_docstring_runs_nothing(demo):
    library = demo / "workflow/libretto"
    with contextlib.ExitStack() as stack:
        for name in ("errors", "log", "training/trainer"):
            stack.enter_context(changed(library / f"{name}.py", '"""', '"""Said otherwise. '))
            stack.enter_context(changed(library / f"{name}.py", new="# a comment\n"))
        assert "Nothing to be done" in dry_run(demo, "--profile", "demo")


@pytest.fixture(scope="module")
def everything(demo):
    return planned(demo, "--forceall")


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [("errors", "InputError(ValueError)", "InputError(RuntimeError)"), ("log", 'mode="w"', 'mode="a"')],
)
def test_what_every_script_imports_runs_everything(demo, everything, module, old, new):
    with changed(demo / f"workflow/libretto/{module}.py", old, new):
        assert planned(demo) == everything


def test_a_constant_of_the_training_runs_it_and_what_depends_on_it(demo):
    with changed(demo / "workflow/libretto/training/trainer.py", "LOG_STEPS = 10", "LOG_STEPS = 11"):
        assert planned(demo) == TRAINED


def test_a_default_of_the_schema_runs_what_reads_it(demo):
    """No config file sets this one."""
    old = "gradient_checkpointing: {type: boolean, default: false"
    with changed(demo / "workflow/schemas/config.schema.yaml", old, old.replace("false", "true")):
        assert planned(demo) == TRAINED


def test_how_we_sample_does_not_fold_the_models_again(demo, tmp_path):
    (tmp_path / "other.yaml").write_text("sampling: {top_p: 0.8, max_new_tokens: 128}")
    files = [str(demo / "demo/experiment.yaml"), str(tmp_path / "other.yaml")]
    counts = planned(demo, "--configfile", *files)
    assert "fold" not in counts
    assert counts["generate"] == 9


def test_how_often_checkpoints_are_written_runs_nothing(demo, tmp_path):
    (tmp_path / "other.yaml").write_text("checkpoint_minutes: 5")
    assert planned(demo, "--configfile", str(demo / "demo/experiment.yaml"), str(tmp_path / "other.yaml")) == {}


def test_how_embeddings_start_is_not_asked_when_sampling(demo, tmp_path):
    """Of itself: the model, which another start makes another one, is taken as it is."""
    (tmp_path / "other.yaml").write_text("variants: {llama-3b: {init: amt, init_from: amt-large}}")
    files = [str(demo / "demo/experiment.yaml"), str(tmp_path / "other.yaml")]
    target = ["--allowed-rules", "generate", "--", "results/demo/samples/llama-3b-t1.0/tokens.parquet"]
    assert "Nothing to be done" in dry_run(demo, "--profile", "demo", "--configfile", *files, *target)


@pytest.mark.parametrize(
    ("path", "rules"),
    [
        *((f"templates/{name}.html", TABLE) for name in ("table", "scores", "samples")),
        ("templates/style.css", TABLE),
        ("templates/index.html", {"listening_page"}),
        ("templates/compose.html", set()),
        ("templates/model_card.md", {"model_card"}),
        ("reference/table3.csv", TABLE),
    ],
)
def test_a_data_file_runs_what_reads_it(demo, path, rules):
    with changed(demo / "workflow" / path, new="\n"):
        assert set(planned(demo)) == rules


def test_captions_run_nothing(demo):
    """`snakemake --report` reads them, when it is called."""
    with contextlib.ExitStack() as stack:
        for path in (demo / "workflow/captions").iterdir():
            stack.enter_context(changed(path, new="\n"))
        assert planned(demo) == {}
