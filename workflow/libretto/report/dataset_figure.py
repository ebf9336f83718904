"""The figure of the dataset: what is in the splits, and what became of the rest."""

from collections import Counter

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullLocator, StrMethodFormatter

from libretto.data.splits import SPLITS
from libretto.report.figures import COLOURS, STYLE
from libretto.tokens.instruments import INSTRUMENT_NAMES

MOST_FREQUENT = 15


def plot_dataset(songs: pd.DataFrame, summary: dict) -> Figure:
    """Six panels: songs per split, chunks, tokens and instruments per song, the instruments, and the dropped songs.

    Args:
        songs: `data/songs.parquet`: a row per tokenized song.
        summary: `data/summary.json`.
    """
    used = songs[songs["dropped"].isna()]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(11, 6.4), layout="constrained")
        panels = figure.subplots(2, 3).ravel()
        _plot_songs(panels[0], summary)
        _plot_histogram(panels[1], used["n_chunks"], "Chunks per song", "chunks")
        _plot_histogram(panels[2], used["n_tokens"], "Tokens per song", "tokens")
        _plot_counts(panels[3], used["instruments"].map(len), "Instruments per song", "instruments, drums as one")
        _plot_instruments(panels[4], used["instruments"])
        _plot_dropped(panels[5], summary)
    return figure


def _plot_songs(axes: Axes, summary: dict) -> None:
    places = np.arange(len(SPLITS))
    counts = {
        "paper, before the cuts": [summary["report"]["songs_before_cut"][split] for split in SPLITS],
        "here, before the cuts": [summary["splits"][split]["songs_before_cut"] for split in SPLITS],
        "here, used": [summary["splits"][split]["songs"] for split in SPLITS],
    }
    for index, (label, values) in enumerate(counts.items()):
        bars = axes.barh(places + (index - 1) * 0.27, values, 0.25, color=COLOURS[index], label=label)
        axes.bar_label(bars, [f"{value:,}" for value in values], padding=3, fontsize=7)
    axes.set_yticks(places, SPLITS)
    axes.invert_yaxis()
    axes.margins(x=0.2)
    axes.set_xscale("symlog", linthresh=1)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), fontsize=7)
    _finish(axes, "Songs per split", "songs", "x")


def _plot_histogram(axes: Axes, values: pd.Series, title: str, unit: str) -> None:
    """A histogram over a logarithmic axis: songs differ by orders of magnitude."""
    if len(values):
        edges = np.geomspace(max(1, values.min()), values.max() + 1, 31)
        axes.hist(values, np.unique(edges.round() - 0.5), color=COLOURS[0])
        axes.axvline(values.median(), color=COLOURS[1], linestyle="--", label=f"median {values.median():,.0f}")
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.legend(fontsize=7)
    axes.set_ylabel("songs")
    _finish(axes, title, unit, "y")


def _plot_counts(axes: Axes, values: pd.Series, title: str, unit: str) -> None:
    counts = values.value_counts().sort_index()
    axes.bar(counts.index, counts.to_numpy(), color=COLOURS[0])
    axes.set_ylabel("songs")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _finish(axes, title, unit, "y")


def _plot_instruments(axes: Axes, instruments: pd.Series) -> None:
    counts = Counter(name for song in instruments for name in sorted({INSTRUMENT_NAMES[number] for number in song}))
    names, values = zip(*counts.most_common(MOST_FREQUENT), strict=True) if counts else ((), ())
    axes.barh(range(len(names)), [100 * value / len(instruments) for value in values], color=COLOURS[2])
    axes.set_yticks(range(len(names)), names, fontsize=7)
    axes.invert_yaxis()
    _finish(axes, "Most frequent instruments", "% of the songs", "x")


def _plot_dropped(axes: Axes, summary: dict) -> None:
    rows = [(f"{stage}: {reason}", n) for stage, by in summary["dropped"].items() for reason, n in by.items()]
    rows.sort(key=lambda row: (-row[1], row[0]))
    bars = axes.barh(range(len(rows)), [n for _, n in rows], color=COLOURS[3])
    axes.bar_label(bars, [f"{n:,}" for _, n in rows], padding=3, fontsize=7)
    axes.set_yticks(range(len(rows)), [name for name, _ in rows], fontsize=7)
    axes.invert_yaxis()
    axes.set_xscale("symlog", linthresh=1)
    axes.margins(x=0.2)
    _finish(axes, "Not in a split, by stage and reason", "archive members and captions", "x")


def _finish(axes: Axes, title: str, unit: str, counted: str) -> None:
    axes.set_title(title, loc="left")
    axes.set_xlabel(unit)
    axes.grid(axis="y" if counted == "x" else "x", visible=False)
    axis = axes.xaxis if counted == "x" else axes.yaxis
    if axis.get_scale() == "linear":
        axis.set_major_locator(MaxNLocator(5, integer=True))
        axis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    else:
        axis.set_major_formatter(EngFormatter(sep=""))
