import re

import numpy as np
import pandas as pd
import pytest

from libretto.config.sweep import SweepPoint
from libretto.config.systems import System
from libretto.report.figures import plot_layer_weights, plot_losses, plot_scores, plot_sweep, save
from libretto.report.table import METRICS, PAPER_COLUMNS

SYSTEMS = [
    System("ground-truth", "ground-truth", "Baselines", "Ground truth"),
    System("amt-t1.0", "variant", "AMT", "AMT", "amt", 1.0),
]


@pytest.fixture
def logs():
    steps = np.arange(10, 101, 10)
    log = pd.DataFrame({"step": steps, "loss": 5 - steps / 50, "val_loss": np.where(steps % 50, np.nan, 4.0)})
    return {"amt": log, "llama-1b": log + 1}


@pytest.fixture
def table():
    rows = pd.DataFrame({"system": [s.name for s in SYSTEMS]}).reindex(columns=["system", *METRICS, *PAPER_COLUMNS])
    numbers = [name for name in (*METRICS, *PAPER_COLUMNS) if name != "fad_embedding"]
    rows[numbers] = rows[numbers].astype(float)
    rows.loc[1, ["val_loss", "fad", "report_val_loss", "report_fad"]] = [3.0, 5.0, 0.6, 0.3]
    return rows


def offsets(axes):
    """The x of every point that the panel's series show."""
    return [x for line in axes.lines for x in line.get_xdata() if not np.isnan(x)]


def test_losses_have_a_panel_per_family_and_only_evaluated_steps(logs):
    figure = plot_losses(logs, {"amt": "amt", "llama-1b": "llama"})
    amt, llama = figure.axes
    assert amt.get_xlabel() == llama.get_xlabel() == "training step"
    training, validation, _ = amt.lines
    assert training.get_xdata().tolist() == list(range(10, 101, 10))
    assert validation.get_xdata().tolist() == [50, 100]
    assert "llama-1b" in [text.get_text() for text in llama.get_legend().get_texts()]


def test_plunge_at_the_start_does_not_flatten_the_rest():
    steps = np.arange(1, 101)
    log = pd.DataFrame({"step": steps, "loss": np.where(steps < 5, 100.0, 2.0 - steps / 100), "val_loss": np.nan})
    (axes,) = plot_losses({"amt": log}, {"amt": "amt"}).axes
    assert 1.95 < axes.get_ylim()[1] < 2.5
    log.loc[0, "val_loss"] = 2.4  # no plunge: all of it is shown
    log["loss"] = log["loss"].clip(upper=2.2)
    (axes,) = plot_losses({"amt": log}, {"amt": "amt"}).axes
    assert 2.4 < axes.get_ylim()[1] < 2.6


def test_losses_of_one_family_have_one_panel(logs):
    assert len(plot_losses({"amt": logs["amt"]}, {"amt": "amt"}).axes) == 1


def test_scores_show_only_what_was_measured(table):
    figure = plot_scores(table, SYSTEMS, "vggish")
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["Val loss ↓", "FAD (vggish) ↓"]
    assert offsets(figure.axes[1]) == [5.0, 0.3]


def test_fad_of_another_embedding_stands_alone(table):
    figure = plot_scores(table, SYSTEMS, "logmel")
    assert offsets(figure.axes[0]) == [3.0, 0.6]
    assert offsets(figure.axes[1]) == [5.0]


def test_nothing_measured_is_still_a_figure(table):
    table[["val_loss", "fad"]] = np.nan
    assert len(plot_scores(table, SYSTEMS, "vggish").axes) == 1


def test_layer_weights_have_a_bar_per_layer():
    figure = plot_layer_weights({"amt-weighted": [0.1, 0.2, 0.3, 0.4]})
    (axes,) = figure.axes
    assert [bar.get_height() for bar in axes.patches] == [0.1, 0.2, 0.3, 0.4]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["emb.", "1", "2", "3"]


def test_files_have_the_same_bytes_on_every_run(tmp_path):
    for folder in ("first", "second"):
        (tmp_path / folder).mkdir()
        figure = plot_layer_weights({"amt-weighted": [0.5, 0.5]})
        save(figure, [tmp_path / folder / "figure.png", tmp_path / folder / "figure.svg"])
    for name in ("figure.png", "figure.svg"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()
    svg = (tmp_path / "first" / "figure.svg").read_text()
    assert "<dc:date>" not in svg
    assert re.search(r"<text[^>]*>softmax weight</text>", svg)


def test_sweep_has_a_panel_per_variant_over_the_sequences_read(logs):
    points = [SweepPoint("amt", 16, 1e-5), SweepPoint("amt", 64, 2e-4), SweepPoint("llama-1b", 16, 1e-5)]
    figure = plot_sweep(points, [logs["amt"], logs["amt"], logs["llama-1b"]])
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["amt", "llama-1b"]
    first, second = figure.axes[0].lines
    assert first.get_xdata().tolist() == [800, 1600]
    assert second.get_xdata().tolist() == [3200, 6400]
    assert second.get_label() == "batch 64, rate 0.0002"
