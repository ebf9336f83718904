import re

import numpy as np
import pandas as pd
import pytest

from libretto.config.sweep import SweepPoint
from libretto.config.systems import System
from libretto.report.dataset_figure import REASONS, reason_words
from libretto.report.figures import plot_layer_weights, plot_losses, plot_scores, plot_sweep, save
from libretto.report.table import METRICS, PAPER_COLUMNS
from tests.checkout import ROOT

LABELS = {"amt": "AMT", "llama-1b": "1B", "amt-weighted": "weighted"}
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
    figure = plot_losses(logs, {"amt": "amt", "llama-1b": "llama"}, LABELS)
    amt, llama = figure.axes
    assert amt.get_xlabel() == llama.get_xlabel() == "training step"
    training, validation, _ = amt.lines
    assert training.get_xdata().tolist() == list(range(10, 101, 10))
    assert validation.get_xdata().tolist() == [50, 100]
    assert [text.get_text() for text in llama.get_legend().get_texts()] == ["1B", "training (thin line)"]


def test_plunge_at_the_start_does_not_flatten_the_rest():
    steps = np.arange(1, 101)
    log = pd.DataFrame({"step": steps, "loss": np.where(steps < 5, 100.0, 2.0 - steps / 100), "val_loss": np.nan})
    (axes,) = plot_losses({"amt": log}, {"amt": "amt"}, LABELS).axes
    assert 1.95 < axes.get_ylim()[1] < 2.5
    assert 0.9 < axes.get_ylim()[0] < 1  # just below the last loss, 1.0
    log.loc[0, "val_loss"] = 2.4  # no plunge: all of it is shown
    log["loss"] = log["loss"].clip(upper=2.2)
    (axes,) = plot_losses({"amt": log}, {"amt": "amt"}, LABELS).axes
    assert 2.4 < axes.get_ylim()[1] < 2.6


def test_losses_of_one_family_have_one_panel(logs):
    assert len(plot_losses({"amt": logs["amt"]}, {"amt": "amt"}, LABELS).axes) == 1


def test_scores_show_only_what_was_measured(table):
    figure = plot_scores(table, SYSTEMS, {"amt": "amt"}, "vggish")
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["Val loss, AMT ↓", "FAD (vggish) ↓"]
    assert offsets(figure.axes[1]) == [5.0, 0.3]
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names == ["Baselines", "Ground truth", "AMT", "AMT, T 1.0"]  # the table's headings and rows
    assert figure.axes[1].lines[0].get_ydata()[-1] == pytest.approx(-3, abs=0.3)  # beside the last of them


def test_the_losses_of_two_families_have_two_axes_and_n_is_told(table):
    table = pd.concat([table, table.iloc[1:].assign(system="llama-1b-t1.0", val_loss=1.5)]).assign(n=[8, 9, 7])
    systems = [*SYSTEMS, System("llama-1b-t1.0", "variant", "Llama", "1B", "llama-1b", 1.0)]
    figure = plot_scores(table, systems, {"amt": "amt", "llama-1b": "llama"}, "vggish")
    by_title = {axes.get_title(loc="left"): offsets(axes)[0] for axes in figure.axes}
    assert by_title["Val loss, AMT ↓"] == 3.0
    assert by_title["Val loss, Llama ↓"] == 1.5
    assert figure.legends[0].get_title().get_text() == "n = 7 to 9 samples a row"


def test_fad_of_another_embedding_stands_alone(table):
    figure = plot_scores(table, SYSTEMS, {"amt": "amt"}, "logmel")
    assert offsets(figure.axes[0]) == [3.0, 0.6]
    assert offsets(figure.axes[1]) == [5.0]


def test_nothing_measured_is_still_a_figure(table):
    table[["val_loss", "fad"]] = np.nan
    assert len(plot_scores(table, SYSTEMS, {"amt": "amt"}, "vggish").axes) == 1


def test_layer_weights_are_told_by_how_far_from_uniform_they_are():
    figure = plot_layer_weights({"amt-weighted": [0.1, 0.2, 0.3, 0.4]}, LABELS)
    (axes,) = figure.axes
    assert axes.lines[-1].get_ydata().tolist() == pytest.approx([-60, -20, 20, 60])  # percent of 0.25
    assert [label.get_text() for label in axes.get_xticklabels()] == ["emb.", "1", "2", "3"]
    assert axes.get_title(loc="left") == "weighted"


def test_files_have_the_same_bytes_on_every_run(tmp_path):
    for folder in ("first", "second"):
        (tmp_path / folder).mkdir()
        figure = plot_layer_weights({"amt-weighted": [0.5, 0.5]}, LABELS)
        save(figure, [tmp_path / folder / name for name in ("figure.png", "figure.svg", "other.svg")])
    for name in ("figure.png", "figure.svg"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()
    svg, other = ((tmp_path / "first" / name).read_text() for name in ("figure.svg", "other.svg"))
    assert "<dc:date>" not in svg
    assert re.search(r"<text[^>]*>% above uniform</text>", svg)
    ids, others = (set(re.findall(r' id="([^"]+)"', text)) for text in (svg, other))
    assert ids
    assert not ids & others  # both may stand in one page
    assert all(f"#{name}" in svg for name in ids)


def luminance(colour):
    """Relative luminance (WCAG 2.2) of a colour such as #767676."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(share * c for share, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_an_svg_is_readable_on_white_and_on_black_and_takes_the_colour_around_it(logs, tmp_path):
    save(plot_losses(logs, {"amt": "amt", "llama-1b": "llama"}, LABELS), [tmp_path / "losses.svg"])
    svg = (tmp_path / "losses.svg").read_text()
    texts = re.findall(r"<text[^>]*>", svg)
    assert texts
    assert all("fill: currentColor" in text for text in texts)
    own = luminance(re.search(r'<svg color="(#\w{6})"', svg)[1])
    assert 1.05 / (own + 0.05) >= 4.5  # on white
    assert (own + 0.05) / 0.05 >= 4.5  # on black
    visible = re.sub(r"<[^>]*opacity: 0[;\"][^>]*>", "", svg)
    assert not re.search("#(ffffff|000000|1c1d1f)", visible)
    assert "<style" not in svg  # it would reach beyond the figure


def test_sweep_has_a_panel_per_variant_over_the_sequences_read(logs):
    points = [SweepPoint("amt", 16, 1e-5), SweepPoint("amt", 64, 2e-4), SweepPoint("llama-1b", 16, 1e-5)]
    figure = plot_sweep(points, [logs["amt"], logs["amt"], logs["llama-1b"]])
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["amt", "llama-1b"]
    first, second = figure.axes[0].lines
    assert first.get_xdata().tolist() == [800, 1600]
    assert second.get_xdata().tolist() == [3200, 6400]
    assert second.get_label() == "batch 64, rate 0.0002"


def test_reasons_are_told_in_words():
    """Each reason that the data stage's code gives, with the stage that gives it."""
    given = set()
    for module, stage in (("archive", "shard"), ("pairs", "pair"), ("tokenization", "tokenize"), ("splits", "split")):
        source = (ROOT / f"workflow/libretto/data/{module}.py").read_text()
        pattern = rf'reason = "([a-z-]+)"|return "([a-z-]+)"|dropped_row\("{stage}", "([a-z-]+)"'
        given |= {(stage, "".join(found)) for found in re.findall(pattern, source)}
    assert len(given) > 14
    assert given | {("split", "duplicate-bytes"), ("split", "duplicate-tokens"), ("tokenize", "error")} == set(REASONS)
    assert reason_words("tokenize", "error:EOFError") == "cannot be read (EOFError)"
