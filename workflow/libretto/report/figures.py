"""The paper's figures: losses over steps (paper, Figure 3), scores beside the paper's, learned layer weights."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd

matplotlib.use("Agg")

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from libretto.config.sweep import SweepPoint
from libretto.config.systems import System
from libretto.report.presentation import scores

# Okabe and Ito's palette: told apart with any kind of colour vision. Marks differ too, for print without colour.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKS = ("o", "s", "^", "D", "v", "P", "X")
STYLE = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "svg.fonttype": "none",
    "svg.hashsalt": "libretto",  # element ids are drawn from it: the same bytes on every run
}
PIXELS_PER_INCH = 160
EARLY_SHARE = 0.05  # share of the steps whose losses may lie above the panel
MAX_RANGE_RATIO = 2  # the whole range over that of the later losses, above which they look flat


def save(figure: Figure, paths: Iterable[str | Path]) -> None:
    """Write the figure to each path, in the format of its suffix and without timestamps."""
    with matplotlib.rc_context(STYLE):
        for path in map(Path, paths):
            metadata = {"Date": None} if path.suffix == ".svg" else {"Software": None}
            figure.savefig(path, dpi=PIXELS_PER_INCH, bbox_inches="tight", metadata=metadata)


def plot_losses(logs: Mapping[str, pd.DataFrame], families: Mapping[str, str]) -> Figure:
    """Training (thin) and validation (marked) loss over steps, a panel per family (paper, Figure 3).

    Args:
        logs: train/{variant}/log.parquet by variant: columns `step`, `loss`, `val_loss` (null where not evaluated).
        families: the family of each variant, "amt" or "llama": their losses are over different tokens.
    """
    titles = {"amt": "AMT-Large + text: music tokens", "llama": "Llama: text and music tokens"}
    shown = [family for family in titles if family in families.values()]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(4.8 * len(shown), 3.6), layout="constrained")
        for axes, family in zip(np.atleast_1d(figure.subplots(1, len(shown))), shown, strict=True):
            for i, (variant, log) in enumerate(logs.items()):
                if families[variant] == family:
                    colour = COLOURS[i % len(COLOURS)]
                    training = log.dropna(subset="loss")
                    axes.plot(training["step"], training["loss"], color=colour, linewidth=0.9, alpha=0.65)
                    validation = log.dropna(subset="val_loss")
                    axes.plot(
                        validation["step"],
                        validation["val_loss"],
                        color=colour,
                        marker=MARKS[i % len(MARKS)],
                        markersize=4,
                        markevery=max(1, len(validation) // 12),
                        label=variant,
                    )
            axes.plot([], [], color="#555555", linewidth=0.9, alpha=0.65, label="training (thin line)")
            axes.set_ylim(top=_top(log for variant, log in logs.items() if families[variant] == family))
            axes.set_title(titles[family], loc="left")
            axes.set_xlabel("training step")
            axes.set_ylabel("loss (nats per token)")
            axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
            axes.legend(title="validation (marked line)", alignment="left")
    return figure


def _top(logs: Iterable[pd.DataFrame]) -> float:
    """The upper end of a panel: above all losses, or below a plunge at the start that would flatten the rest."""
    highest, later, lowest = -np.inf, -np.inf, np.inf
    for log in logs:
        losses = log[["loss", "val_loss"]].astype(float)
        highest = max(highest, losses.max(axis=None))
        lowest = min(lowest, losses.min(axis=None))
        later = max(later, losses[log["step"] >= EARLY_SHARE * log["step"].max()].max(axis=None))
    top = later if highest - lowest > MAX_RANGE_RATIO * (later - lowest) else highest
    return top + 0.05 * (top - lowest)


def plot_sweep(points: Sequence[SweepPoint], logs: Sequence[pd.DataFrame]) -> Figure:
    """Validation loss over the sequences read, a panel per variant and a line per training of the search.

    Args:
        points: the trainings.
        logs: the log of each, columns `step` and `val_loss`.
    """
    variants = list(dict.fromkeys(point.variant for point in points))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(4.8 * len(variants), 3.6), layout="constrained")
        for axes, variant in zip(np.atleast_1d(figure.subplots(1, len(variants))), variants, strict=True):
            trainings = [(point, log) for point, log in zip(points, logs, strict=True) if point.variant == variant]
            for i, (point, log) in enumerate(trainings):
                validation = log.dropna(subset="val_loss")
                axes.plot(
                    validation["step"] * point.batch_size,
                    validation["val_loss"],
                    color=COLOURS[i % len(COLOURS)],
                    marker=MARKS[i % len(MARKS)],
                    markersize=4,
                    label=f"batch {point.batch_size}, rate {point.learning_rate:g}",
                )
            axes.set_title(variant, loc="left")
            axes.set_xlabel("sequences read")
            axes.set_ylabel("validation loss (nats per token)")
            axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
            axes.legend()
    return figure


def plot_scores(table: pd.DataFrame, systems: Sequence[System], embedding: str) -> Figure:
    """Every score of Table 3 that was measured, a panel each: this run's and the paper's with their errors.

    A panel's axis includes zero, so that lengths can be compared. The paper's FAD is left out where embeddings differ.

    Args:
        table: the results table.
        systems: its rows, from top to bottom.
        embedding: of FAD.
    """
    rows = table.set_index("system")
    shown = [score for score in scores(embedding) if score.in_paper and rows[score.value].notna().any()]
    heights = np.arange(len(systems))[::-1]
    names = [system.name for system in systems]
    series = (("this run", "", COLOURS[0], "o", 0.15), ("paper", "report_", COLOURS[1], "D", -0.15))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(2.2 + 2.7 * max(1, len(shown)), 1.3 + 0.32 * len(systems)), layout="constrained")
        panels = np.atleast_1d(figure.subplots(1, max(1, len(shown)), sharey=True))
        for axes, score in zip(panels, shown, strict=False):
            for name, prefix, colour, mark, offset in series:
                if prefix and not score.comparable:
                    continue
                values = rows.loc[names, prefix + score.value].to_numpy(float)
                errors = rows.loc[names, prefix + score.error].to_numpy(float) if score.error else None
                axes.errorbar(
                    values, heights + offset, xerr=errors, color=colour, fmt=mark, markersize=4, capsize=2, label=name
                )
            axes.set_title(score.heading, loc="left")
            axes.set_xlim(left=min(0, axes.get_xlim()[0]))
            axes.xaxis.set_major_locator(MaxNLocator(5))
        panels[0].set_yticks(heights, names)
        panels[0].set_ylim(-0.6, len(systems) - 0.4)
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower right", ncols=2)
    return figure


def plot_layer_weights(weights: Mapping[str, Sequence[float]]) -> Figure:
    """The learned share of each of the text encoder's layers (paper, section 6.1), a bar per layer and variant.

    Args:
        weights: softmax weights by variant: the embedding layer's first, then each layer's; each sums to 1.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 3.2), layout="constrained")
        axes: Axes = figure.subplots()
        width = 0.8 / max(1, len(weights))
        for i, (variant, shares) in enumerate(weights.items()):
            places = np.arange(len(shares)) + (i - (len(weights) - 1) / 2) * width
            axes.bar(places, shares, width, color=COLOURS[i % len(COLOURS)], label=variant)
        layers = max(len(shares) for shares in weights.values())
        axes.axhline(1 / layers, color="#555555", linewidth=0.9, linestyle="--", label="uniform")
        axes.set_xticks(range(layers), ["emb.", *map(str, range(1, layers))])
        axes.grid(axis="x", visible=False)
        axes.set_title("Weights of the text encoder's layers", loc="left")
        axes.set_xlabel("layer of the text encoder (emb.: its embeddings)")
        axes.set_ylabel("softmax weight")
        figure.legend(loc="outside lower right", ncols=len(weights) + 1)
    return figure
