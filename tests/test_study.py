"""The study: its page says what its table says, a finding can fail, and the pipeline finds controls in the demo."""

import json
import shutil

import pandas as pd
import pytest
import yaml

from libretto.config.study import study_roles
from libretto.config.systems import systems
from libretto.errors import InputError
from libretto.report.study import planted, study_table
from tests.checkout import ROOT, snakemake

CONTROLS = {
    "training-copy": {"control": "training-copy"},
    "constant-band": {"control": "constant-band"},
    "wrong-quarter": {"control": "wrong-instruments", "share": 0.25},
    "wrong-half": {"control": "wrong-instruments", "share": 0.5},
    "wrong-all": {"control": "wrong-instruments", "share": 1.0},
}


@pytest.fixture
def study():
    """The study's config as Snakemake would have it: the shipped one, and what extends it; a row's defaults."""
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    own = yaml.safe_load((ROOT / "study/experiment.yaml").read_text())
    for name, variant in own["variants"].items():
        defaults = {"temperatures": [1.0], "descriptions": "own", "chunks": "in-turn", "songs": "paired"}
        own["variants"][name] = defaults | config["variants"].get(name, {}) | variant
    rows = {name: {"temperature": 1.0, "share": 1.0} | row for name, row in own["systems"].items()}
    return config | own | {"systems": rows} | {name: config[name] | own[name] for name in ("sampling", "text")}


@pytest.fixture
def table():
    return pd.read_csv(ROOT / "docs/study/table.csv")


def test_the_page_is_made_from_the_table(study, table):
    page = (ROOT / "docs/study.md").read_text()
    rows = systems(study)
    findings = planted(table, study_roles(study, rows))
    assert len(findings) == 9
    for finding in findings:
        assert f"| {finding.planted} | {finding.seen} | yes |" in page
        assert finding.found
    assert set(study_table(table, list(rows.values())).splitlines()) <= set(page.splitlines())
    most = max(table.dropna(subset="fad").itertuples(), key=lambda row: row.fad - row.fad_without_one)
    assert f"It matters most in\n{most.system}: {most.fad:.3f} ({most.fad_without_one:.3f} without" in page

    row = table.set_index("system").loc
    named = {1.5: "guidance-1.5", 2.0: "guidance-2", 3.0: "guidance-3", 1.0: "t1.0"}
    for guidance, name in named.items():
        rows = [row[f"{variant}-{name}"] for variant in ("amt-dropout-0", "amt", "amt-dropout-0.3")]
        figures = [found[column] for column in ("instrument_f1", "fad_without_one") for found in rows]
        assert f"| {guidance} | {' | '.join(f'{figure:.3f}' for figure in figures)} |\n" in page
    parts = {"everything": "amt", "LoRA of rank 8, and the text projection": "amt-lora"}
    for part, variant in (parts | {"the text projection alone": "amt-projection"}).items():
        found = row[f"{variant}-t1.0"]
        figures = f"{found.val_loss_music:.4f} | {found.instrument_f1:.3f} | {found.fad_without_one:.3f}"
        assert f"| {part} | {figures} |\n" in page
    losses = [row[f"{variant}-t1.0"].val_loss_music for variant in ("llama-1b", "llama-1b-random-chunks")]
    assert "a loss on music of {:.4f} in turn,\n  {:.4f} at random.".format(*losses) in page


@pytest.mark.parametrize(
    ("system", "column", "value", "words"),
    [
        ("ground-truth", "instrument_f1_own_minus_others_p", 0.2, "The ground truth follows"),
        ("ground-truth-random-text", "key_match_own_minus_others_p", 0.004, "The ground truth does not follow"),
        ("ground-truth", "tempo_match_own_minus_others_p", 0.2, "The ground truth follows"),
        ("amt-unconditional-t1.0", "instrument_f1_own_minus_others_p", 0.004, "AMT without text"),
        ("amt-shuffled-t1.0", "key_match_own_minus_others_p", 0.004, "trained with shuffled"),
        ("amt-shuffled-t1.0", "tempo_match_own_minus_others_p", 0.004, "trained with shuffled"),
        ("amt-shuffled-t1.0", "val_loss_music_random_text", 0.27, "Its loss"),
        ("training-copy", "copied_share", 0.9, "told from music"),
        ("amt-t0.8", "copied_share", 0.6, "told from music"),
        ("training-copy", "instrument_f1_own_minus_others_p", 0.004, "Copies of training songs are at chance"),
        ("wrong-half", "instrument_f1", 0.8, "ranks"),
        ("wrong-half", "instrument_f1_own_minus_others", 0.7, "ranks"),
        ("constant-band", "instrument_f1_own_minus_others", 0.01, "constant band"),
        ("constant-band", "instrument_f1", 0.3, "constant band"),
    ],
)
def test_what_is_not_there_is_not_found(study, table, system, column, value, words):
    table.loc[table["system"] == system, column] = value
    missed = [finding.planted for finding in planted(table, study_roles(study, systems(study))) if not finding.found]
    assert len(missed) == 1
    assert words in missed[0]


def test_variants_are_compared_with_those_that_differ_in_one_thing(study):
    for row in ({"variant": "llama-1b"}, {"variant": "amt-lora"}):  # neither is amt with another dropout
        study["systems"]["guided"] = {**row, "temperature": 1.0, "sampling": {"guidance": 2.0}}
        roles = study_roles(study, systems(study))
        assert [*roles.guidance] == [0.0, 0.1, 0.3]
        assert all([*rows] == [1.0, 1.5, 2.0, 3.0] for rows in roles.guidance.values())
        assert roles.guidance[0.1][2.0] == "amt-guidance-2"
    assert [*roles.trained.values()] == ["amt-t1.0", "amt-lora-t1.0", "amt-projection-t1.0"]
    assert roles.best_of == {1: "amt-t1.0", 4: "amt-best-of-4"}
    assert roles.chunks == {"in turn": "llama-1b", "random": "llama-1b-random-chunks"}
    study["variants"]["llama-1b-random-chunks"]["init"] = "amt"
    with pytest.raises(InputError, match="snakemake --profile study"):
        study_roles(study, systems(study))


def test_another_experiment_is_not_the_study(study):
    study["systems"] = {}
    with pytest.raises(InputError, match="snakemake --profile study"):
        study_roles(study, systems(study))


@pytest.mark.slow
@pytest.mark.xdist_group("demo")
def test_the_demos_pipeline_sees_the_controls(demo, tmp_path):
    controls = {name: control for name, control in CONTROLS.items() if name != "wrong-half"}  # to save time
    (tmp_path / "controls.yaml").write_text(yaml.safe_dump({"systems": controls}))
    files = [f"results/demo/metrics/{name}.json" for name in ("ground-truth", *controls)]
    try:
        run = snakemake(
            demo, "--profile", "demo", "--configfile", "demo/experiment.yaml", str(tmp_path / "controls.yaml"),
            "--", *files,
        )  # fmt: skip
        assert run.returncode == 0, run.stdout[-3000:]
        truth, copy, band, *wrong = (json.loads((demo / file).read_text()) for file in files)
    finally:
        for name in controls:
            for folder in ("samples", "audio", "embeddings"):
                shutil.rmtree(demo / "results/demo" / folder / name, ignore_errors=True)
            for path in (demo / "results/demo").rglob(f"{name}.*"):
                path.unlink()
    assert copy["copied_share"] == 1
    assert truth["copied_share"] < 0.5
    assert band["instrument_f1"] == pytest.approx(band["instrument_f1_floor"])
    assert band["instrument_f1_own_minus_others"] == pytest.approx(0)
    scores = [row["instrument_f1"] for row in (truth, *wrong)]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] > 0.9
    assert scores[-1] == 0
    assert truth["instrument_f1_own_minus_others_p"] < 0.05
    assert copy["instrument_f1_own_minus_others_p"] > 0.05
    assert wrong[-1]["fad"] > 2 * wrong[0]["fad"]
