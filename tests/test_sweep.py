"""The small search over batch sizes and learning rates: what is trained, and the demo's own."""

import json

import pandas as pd
import pytest

from libretto.config.jobs import point_settings, variant_settings
from libretto.config.sweep import SweepPoint, sweep_points, sweep_training
from libretto.errors import InputError
from libretto.report.sweep_table import sweep_markdown, sweep_table
from tests.checkout import snakemake

TRAINING = {"batch_size": 64, "micro_batch_size": 4, "learning_rate": 2e-4, "max_steps": 15_000, "warmup_steps": 500}


def test_the_search_of_the_paper(config):
    assert list(sweep_points(config)) == [
        f"{variant}/batch{batch}-rate{rate}"
        for variant in ("amt", "llama-1b")
        for batch in (16, 64)
        for rate in ("1e-05", "0.0002")
    ]


def test_unknown_variant_is_an_input_error():
    config = {"variants": {"amt": {}}, "sweep": {"variants": ["llama"], "batch_sizes": [1], "learning_rates": [1.0]}}
    with pytest.raises(InputError, match=r"sweep\.variants: there is no variant llama; there are: amt"):
        sweep_points(config)
    config["sweep"]["variants"] = []
    assert list(sweep_points(config)) == ["amt/batch1-rate1.0"]


@pytest.mark.parametrize(("batch", "steps"), [(16, 4_000), (64, 1_000), (6, 10_666)])
def test_every_training_reads_the_same_number_of_sequences(batch, steps):
    changed = sweep_training(SweepPoint("llama-1b", batch, 1e-5), TRAINING, {"sequences": 64_000, "evaluations": 8})
    assert (changed["batch_size"], changed["learning_rate"]) == (batch, 1e-5)
    assert changed["max_steps"] == steps
    assert changed["micro_batch_size"] == 4
    assert changed["warmup_steps"] == round(steps / 30)
    assert 0 <= steps - 8 * changed["eval_steps"] + 8 <= 8


def test_a_training_of_the_search_differs_from_the_variants_own_in_its_section_training(config):
    config["sweep"]["evaluations"] = 8
    settings, own = point_settings(config, "llama-1b/batch16-rate1e-05"), variant_settings(config, "llama-1b")
    training = settings["variant"].pop("training")
    assert (training["batch_size"], training["learning_rate"], training["max_steps"]) == (16, 1e-5, 4_000)
    del own["variant"]["training"]
    assert settings == own


def test_the_best_of_each_variant_is_marked():
    points = [SweepPoint("amt", 16, 1e-5), SweepPoint("amt", 64, 1e-5), SweepPoint("llama-1b", 64, 2e-4)]
    bests = [{"step": 5, "val_loss": loss, "val_loss_music": loss + 1} for loss in (0.7, 0.6, 1.2)]
    table = sweep_table(points, bests, [pd.DataFrame({"step": [0, 10]})] * 3)
    assert table["best"].tolist() == [False, True, True]
    lines = sweep_markdown(table).splitlines()
    assert [("**" in line) for line in lines] == [False, False, False, True, True]
    assert "**0.600**" in lines[3]


@pytest.mark.slow
@pytest.mark.xdist_group("demo-further")
def test_sweep_of_the_demo(demo, tmp_path):
    (tmp_path / "fewer.yaml").write_text(
        "sweep: {variants: [llama-1b], batch_sizes: [4], sequences: 32, evaluations: 2}"
    )
    files = ["demo/experiment.yaml", str(tmp_path / "fewer.yaml")]
    run = snakemake(demo, "--profile", "demo", "--configfile", *files, "--", "sweep")
    assert run.returncode == 0, run.stdout[-5000:]
    folder = demo / "results/demo/sweep"
    table = pd.read_csv(folder / "table.csv")
    assert len(table) == 2
    assert table.groupby("variant")["best"].sum().to_dict() == {"llama-1b": 1}
    for row in table.to_dict("records"):
        point = SweepPoint(row["variant"], row["batch_size"], row["learning_rate"])
        log = pd.read_parquet(folder / f"{point.name}.parquet")
        assert log["step"].max() == row["max_steps"] == 32 // row["batch_size"]
        assert json.loads((folder / f"{point.name}.json").read_text())["val_loss"] == log["val_loss"].min()
    assert not list(folder.rglob("*.safetensors")), "a search keeps no model"
    assert (folder / "losses.png").stat().st_size > 10_000
