"""The figure of the dataset: what is in the splits, and what became of the rest."""

from collections import Counter
from collections.abc import Sequence

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullLocator, StrMethodFormatter

from libretto.data.splits import SPLITS
from libretto.report.figures import COLOURS, MARKS, STYLE
from libretto.tokens.instruments import INSTRUMENT_NAMES

MOST_FREQUENT = 15
REASONS = {  # of data/dropped.parquet, by stage; a file that cannot be read has its error's name too
    ("shard", "no-file"): "a link or device, not a file",
    ("shard", "unsafe-name"): "unsafe name in the archive",
    ("shard", "name"): "no song's name",
    ("shard", "size"): "over 16 MiB",
    ("shard", "duplicate"): "twice in the archive",
    ("pair", "duplicate"): "second caption of a song",
    ("pair", "no-midi"): "caption without a song",
    ("pair", "no-caption"): "empty caption",
    ("pair", "no-split"): "in none of the splits",
    ("pair", "no-midicaps-row"): "song without a caption",
    ("tokenize", "error"): "cannot be read",
    ("tokenize", "short"): "under 10 s or 100 notes",
    ("tokenize", "long"): "over an hour",
    ("tokenize", "instruments"): "over 16 instruments",
    ("split", "no-chunk"): "no whole chunk",
    ("split", "duplicate-bytes"): "same file in an earlier split",
    ("split", "duplicate-tokens"): "same notes in an earlier split",
    ("split", "cut"): "beyond the split's size",
}


def plot_dataset(songs: pd.DataFrame, summary: dict) -> Figure:
    """Six panels: songs per split, chunks, tokens and instruments per song, the instruments, and the dropped songs.

    Args:
        songs: `data/songs.parquet`: a row per tokenized song.
        summary: `data/summary.json`.
    """
    used = songs[songs["dropped"].isna()]
    n = f"(n = {len(used):,})"
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(11, 6.4), layout="constrained")
        panels = figure.subplots(2, 3).ravel()
        _plot_songs(panels[0], summary)
        _plot_histogram(panels[1], used["n_chunks"], f"Chunks per song {n}", "chunks")
        _plot_histogram(panels[2], used["n_tokens"], f"Tokens per song {n}", "tokens")
        _plot_counts(panels[3], used["instruments"].map(len), f"Instruments per song {n}", "instruments, drums as one")
        _plot_instruments(panels[4], used["instruments"], f"Most frequent instruments {n}")
        _plot_dropped(panels[5], summary)
    return figure


def _plot_songs(axes: Axes, summary: dict) -> None:
    """Dots, as on a logarithmic axis the length of a bar says nothing."""
    places = np.arange(len(SPLITS))
    counts = {
        "paper, before the cuts": [summary["report"]["songs_before_cut"][split] for split in SPLITS],
        "here, before the cuts": [summary["splits"][split]["songs_before_cut"] for split in SPLITS],
        "here, used": [summary["splits"][split]["songs"] for split in SPLITS],
    }
    for index, (label, values) in enumerate(counts.items()):
        _plot_dots(axes, values, places + (index - 1) * 0.27, COLOURS[index], MARKS[index], label)
    axes.set_yticks(places, SPLITS)
    axes.invert_yaxis()
    axes.margins(x=0.2, y=0.15)
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


def _plot_instruments(axes: Axes, instruments: pd.Series, title: str) -> None:
    counts = Counter(name for song in instruments for name in sorted({INSTRUMENT_NAMES[number] for number in song}))
    names, values = zip(*counts.most_common(MOST_FREQUENT), strict=True) if counts else ((), ())
    axes.barh(range(len(names)), [100 * value / len(instruments) for value in values], color=COLOURS[0])
    axes.set_yticks(range(len(names)), names, fontsize=7)
    axes.invert_yaxis()
    _finish(axes, title, "% of the songs", "x")


def _plot_dropped(axes: Axes, summary: dict) -> None:
    rows = [(reason_words(stage, key), n) for stage, by in summary["dropped"].items() for key, n in by.items()]
    rows.sort(key=lambda row: (-row[1], row[0]))
    _plot_dots(axes, [n for _, n in rows], range(len(rows)), COLOURS[0], MARKS[0])
    axes.set_yticks(range(len(rows)), [name for name, _ in rows], fontsize=7)
    axes.invert_yaxis()
    axes.set_xscale("symlog", linthresh=1)
    axes.margins(x=0.2)
    _finish(axes, "Not in a split, and why", "archive members and captions", "x")


def reason_words(stage: str, reason: str) -> str:
    """A reason of data/dropped.parquet in words.

    Raises:
        KeyError: there is no such reason.
    """
    kind, _, error = reason.partition(":")
    return REASONS[stage, kind] + (f" ({error})" if error else "")


def _plot_dots(
    axes: Axes, values: Sequence[int], places: Sequence[float] | np.ndarray, colour: str, mark: str, label=""
) -> None:
    axes.plot(values, places, mark, color=colour, markersize=5, label=label)
    for value, place in zip(values, places, strict=True):
        axes.annotate(f"{value:,}", (value, place), (6, 0), textcoords="offset points", va="center", fontsize=7)


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
