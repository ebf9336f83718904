"""Figures: losses over steps (paper, Figure 3), scores, what goes with CLAP and FAD, learned layer weights."""

import io
import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd

matplotlib.use("Agg")

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from libretto.config.sweep import SweepPoint
from libretto.config.systems import System
from libretto.report.presentation import Score, row_name, scores
from libretto.scores.correlation import AGAINST, POOLED, TITLES

INK = "#1c1d1f"  # of text and lines; an SVG has the colour of the text around it instead
BOTH = "#767676"  # of an SVG that stands alone: a contrast of 4.5 to white and to black
# Okabe and Ito's palette: told apart with any kind of colour vision. Marks differ too, for print without colour.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", INK)
MARKS = ("o", "s", "^", "D", "v", "P", "X")
STYLE = {
    "font.size": 9,
    "font.sans-serif": ["DejaVu Sans"],
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": INK,
    "grid.alpha": 0.15,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "svg.fonttype": "none",
}
FAMILIES = {"amt": "AMT", "llama": "Llama"}
PIXELS_PER_INCH = 160
EARLY_SHARE = 0.05  # share of the steps whose losses may lie above the panel
MAX_RANGE_RATIO = 2  # the whole range over that of the later losses, above which they look flat


def save(figure: Figure, paths: Iterable[str | Path]) -> None:
    """Write the figure to each path, in the format of its suffix and without timestamps."""
    for path in map(Path, paths):
        # Ids in an SVG are drawn from the salt: the same on every run, and others in each of a page's figures.
        with matplotlib.rc_context({**STYLE, "svg.hashsalt": path.stem}):
            if path.suffix == ".svg":
                svg = io.StringIO()
                figure.savefig(svg, format="svg", bbox_inches="tight", transparent=True, metadata={"Date": None})
                path.write_text(_for_any_ground(svg.getvalue()))
            else:
                figure.savefig(path, dpi=PIXELS_PER_INCH, bbox_inches="tight", metadata={"Software": None})


def _for_any_ground(svg: str) -> str:
    """Matplotlib's SVG in the colour of the text around it, without styles and names that reach beyond it."""
    svg = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", svg, count=1, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg.replace(INK, "currentColor"))
    svg = re.sub(r"<[^>]+>", lambda tag: re.sub(r"(\.\d\d)\d+", r"\1", tag[0]), svg)  # of a point
    return svg.replace("<svg ", f'<svg color="{BOTH}" stroke-linejoin="round" ', 1)


def plot_losses(logs: Mapping[str, pd.DataFrame], families: Mapping[str, str], labels: Mapping[str, str]) -> Figure:
    """Training (thin) and validation (marked) loss over steps, a panel per family (paper, Figure 3).

    Args:
        logs: train/{variant}/log.parquet by variant: columns `step`, `loss`, `val_loss` (null where not evaluated).
        families: the family of each variant, "amt" or "llama": their losses are over different tokens.
        labels: the name of each variant in the table.
    """
    titles = {"amt": "AMT-Large + text: music tokens", "llama": "Llama: text and music tokens"}
    shown = [family for family in titles if family in families.values()]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(4.8 * len(shown), 4.6), layout="constrained")
        for axes, family in zip(np.atleast_1d(figure.subplots(1, len(shown))), shown, strict=True):
            variants = [variant for variant in logs if families[variant] == family]
            for i, variant in enumerate(variants):
                log = logs[variant]
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
                    label=labels[variant],
                )
            axes.plot([], [], color=INK, linewidth=0.9, alpha=0.65, label="training (thin line)")
            axes.set_ylim(*_limits(logs[variant] for variant in variants))
            axes.set_title(titles[family], loc="left")
            axes.set_xlabel("training step")
            axes.set_ylabel("loss (nats per token)")
            axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
            below = {"loc": "upper left", "bbox_to_anchor": (0, -0.17)}
            axes.legend(title="validation (marked line)", alignment="left", **below)
    return figure


def _limits(logs: Iterable[pd.DataFrame]) -> tuple[float, float]:
    """The ends of a panel: around all losses, or below a plunge at the start that would flatten the rest."""
    highest, later, lowest = -np.inf, -np.inf, np.inf
    for log in logs:
        losses = log[["loss", "val_loss"]].astype(float)
        highest = max(highest, losses.max(axis=None))
        lowest = min(lowest, losses.min(axis=None))
        later = max(later, losses[log["step"] >= EARLY_SHARE * log["step"].max()].max(axis=None))
    top = later if highest - lowest > MAX_RANGE_RATIO * (later - lowest) else highest
    margin = 0.05 * (top - lowest)
    return lowest - margin, top + margin


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


def plot_scores(table: pd.DataFrame, systems: Sequence[System], families: Mapping[str, str], embedding: str) -> Figure:
    """Every score of Table 3 that was measured, a panel each: this run's and the paper's with their standard errors.

    The validation loss has a panel per family, because it is over different tokens. Axes include zero, so that lengths
    can be compared. The paper's FAD is left out where embeddings differ.

    Args:
        table: the results table.
        systems: its rows, from top to bottom.
        families: the family of each variant, "amt" or "llama".
        embedding: of FAD.
    """
    rows = table.set_index("system").loc[[system.name for system in systems]]
    of_family = np.array([families.get(system.variant or "") for system in systems])
    panels: list[tuple[Score, np.ndarray]] = []
    for score in scores(embedding):
        if score.value == "val_loss":
            panels += [(replace(score, title=f"{score.title}, {FAMILIES[f]}"), of_family == f) for f in FAMILIES]
        elif score.in_paper:
            panels.append((score, np.full(len(rows), True)))
    panels = [(score, here) for score, here in panels if rows.loc[here, score.value].notna().any()]
    lines = []  # from top to bottom: a group's heading, its rows
    for group, members in itertools.groupby(systems, key=lambda system: system.group):
        lines += [(group, False), *((row_name(system), True) for system in members)]
    heights = -np.flatnonzero([is_row for _, is_row in lines])
    series = (("this run", "", COLOURS[0], "o", 0.15), ("paper", "report_", COLOURS[1], "D", -0.15))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(2.2 + 2.4 * max(1, len(panels)), 1.5 + 0.24 * len(lines)), layout="constrained")
        grid = np.atleast_1d(figure.subplots(1, max(1, len(panels)), sharey=True))
        for axes, (score, here) in zip(grid, panels, strict=False):
            for name, prefix, colour, mark, offset in series:
                if prefix and not score.comparable:
                    continue
                values = rows.loc[here, prefix + score.value].to_numpy(float)
                errors = rows.loc[here, prefix + score.error].to_numpy(float) if score.error else None
                places = heights[here] + offset
                axes.errorbar(values, places, xerr=errors, color=colour, fmt=mark, markersize=4, capsize=2, label=name)
            axes.set_title(score.heading, loc="left")
            axes.set_xlim(left=min(0, axes.get_xlim()[0]))
            axes.xaxis.set_major_locator(MaxNLocator(4))
        grid[0].set_yticks(-np.arange(len(lines)), [text for text, _ in lines])
        grid[0].set_ylim(0.6 - len(lines), 0.6)
        for label, (_, is_row) in zip(grid[0].get_yticklabels(), lines, strict=True):
            label.set_fontstyle("normal" if is_row else "italic")
        counts = rows["n"].dropna().astype(int).unique()
        n = f"n = {' to '.join(map(str, sorted({counts.min(), counts.max()})))} samples a row" if len(counts) else None
        figure.legend(*grid[0].get_legend_handles_labels(), loc="outside lower right", ncols=2, title=n)
    return figure


def plot_correlations(rows: pd.DataFrame, systems: Sequence[System]) -> Figure:
    """Spearman's ρ of CLAP, and of FAD per sample, with what they are compared with: a panel each, a line per system.

    Args:
        rows: of `libretto.scores.correlation.correlations`.
        systems: from top to bottom; all of them together come last.
    """
    labels = {system.name: row_name(system) for system in systems} | {POOLED: "all of them"}
    heights = dict(zip(labels, range(len(labels))[::-1], strict=True))
    shown = [score for score in TITLES if score in {*rows["score"]}]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(2.2 + 3.2 * max(1, len(shown)), 1.3 + 0.32 * len(labels)), layout="constrained")
        panels = np.atleast_1d(figure.subplots(1, max(1, len(shown)), sharey=True))
        for axes, score in zip(panels, shown, strict=False):
            for i, (against, label) in enumerate(AGAINST.items()):
                own = rows[(rows["score"] == score) & (rows["against"] == against)].dropna(subset="rho")
                if own.empty:
                    continue
                errors = np.abs(own[["low", "high"]].to_numpy(float).T - own["rho"].to_numpy(float))
                places = own["system"].map(heights) + 0.15 - 0.3 * i
                style = {"color": COLOURS[i], "fmt": MARKS[i], "markersize": 4, "capsize": 2}
                axes.errorbar(own["rho"], places, xerr=errors, label=label, **style)
            axes.axvline(0, color=INK, linewidth=0.9)
            axes.set_title(TITLES[score], loc="left")
            axes.set_xlabel("Spearman's ρ over samples")
            axes.set_xlim(-1, 1)
            axes.set_xticks([-1, -0.5, 0, 0.5, 1])
        panels[0].set_yticks([*heights.values()], labels.values())
        panels[0].set_ylim(-0.6, len(labels) - 0.4)
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower right", ncols=2)
    return figure


def plot_layer_weights(weights: Mapping[str, Sequence[float]], labels: Mapping[str, str]) -> Figure:
    """How far each layer's learned weight is from the uniform one (paper, section 6.1), in percent of it.

    Args:
        weights: softmax weights by variant: the embedding layer's first, then each layer's; each sums to 1.
        labels: the name of each variant in the table.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 0.6 + 2.2 * len(weights)), layout="constrained")
        for axes, (variant, shares) in zip(np.ravel(figure.subplots(len(weights), 1)), weights.items(), strict=True):
            layers = np.arange(len(shares))
            deviations = 100 * (len(shares) * np.array(shares) - 1)
            axes.axhline(0, color=INK, linewidth=0.9)
            axes.vlines(layers, 0, deviations, color=COLOURS[0])
            axes.plot(layers, deviations, "o", color=COLOURS[0])
            axes.set_xticks(layers, ["emb.", *map(str, layers[1:])])
            axes.grid(axis="x", visible=False)
            axes.set_title(labels[variant], loc="left")
            axes.set_ylabel("% above uniform")
        axes.set_xlabel("layer of the text encoder (emb.: its embeddings)")
    return figure
