"""The study: an experiment with a known answer. What was planted in it, and what the scores saw of that."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
import pandas as pd

matplotlib.use("Agg")

from matplotlib.figure import Figure

from libretto.config.study import Roles
from libretto.config.systems import GROUND_TRUTH, RANDOM_TEXT, UNCONDITIONAL, System
from libretto.report.figures import COLOURS, INK, MARKS, STYLE
from libretto.report.presentation import Score, cells, markdown_table, row_name, scores
from libretto.report.table import embedding_of

LEVEL = 0.05  # of tests
TEXT_SCORES = {"instruments": "instrument_f1", "key": "key_match", "tempo": "tempo_match"}
SAME_LOSS = 0.01  # share of a loss that another description may change where the text is not used
COPIED = 0.99  # share of notes, at least, where a piece is a copy
SHOWN = (
    *("val_loss_music", "val_loss_music_random_text", "fad", "fad_without_one", "instrument_f1"),
    *(f"{score}_own_minus_others" for score in TEXT_SCORES.values()),
    *("invalid_share", "copied_share"),
)


@dataclass(frozen=True)
class Finding:
    """What was planted, what the scores say of it, and whether that is what they had to say."""

    planted: str
    seen: str
    found: bool


def planted(table: pd.DataFrame, roles: Roles) -> list[Finding]:
    """What was planted, and whether the scores found it.

    Args:
        table: the results table.
        roles: which rows are asked about.
    """
    rows = table.set_index("system")
    findings = []

    def add(what: str, seen: str, found) -> None:
        findings.append(Finding(what, seen, bool(found)))

    def gains(name: str) -> str:
        found = []
        for what, score in TEXT_SCORES.items():
            value, p = (rows.at[name, f"{score}_own_minus_others{end}"] for end in ("", "_p"))
            found.append(f"{what} {value:+.3f} (p {'< 0.001' if p < 0.001 else f'{p:.3f}'})")
        return ", ".join(found)

    tests = [f"{score}_own_minus_others_p" for score in TEXT_SCORES.values()]
    add(
        "The ground truth follows its descriptions",
        gains(GROUND_TRUTH),
        all(rows.at[GROUND_TRUTH, test] < LEVEL for test in tests),
    )
    level = LEVEL / n_null_tests(table, roles)  # Bonferroni's correction
    for what, names in _nulls(table, roles).items():
        none = all(rows.at[name, test] >= level for name in names for test in tests)
        add(what, "; ".join(map(gains, names)), none)
    for name in roles.shuffled:
        own, other = (rows.at[name, f"val_loss_music{end}"] for end in ("", "_random_text"))
        add(
            "Its loss (shuffled descriptions) is the same with any description",
            f"{own:.4f} with its own, {other:.4f} with another",
            abs(other - own) < SAME_LOSS * own,
        )
    copied = rows["copied_share"]
    others = copied.drop(roles.copy)
    add(
        "Copies of training songs are told from music",
        f"copied share {copied[roles.copy]:.3f}; the most of any other row {others.max():.3f} ({others.idxmax()})",
        copied[roles.copy] >= COPIED and others.max() < COPIED / 2,
    )
    f1 = [rows.at[name, "instrument_f1"] for _, name in sorted(roles.wrong.items())]
    own = [rows.at[name, "instrument_f1_own_minus_others"] for _, name in sorted(roles.wrong.items())]
    shares = ", ".join(f"{share:.0%}" for share in sorted(roles.wrong))
    add(
        f"Instrument F1 ranks the shares of wrong instruments ({shares})",
        f"F1 {_listed(f1)}; own - others {_listed(own)}",
        f1 == sorted(f1, reverse=True) and own == sorted(own, reverse=True),
    )
    own = rows.at[roles.band, "instrument_f1_own_minus_others"]
    floor = rows.at[roles.band, "instrument_f1_floor"]
    add(
        "A constant band has the floor's F1, and its instruments follow no description",
        f"F1 {rows.at[roles.band, 'instrument_f1']:.3f}, floor {floor:.3f}; own - others {own:+.3f}",
        abs(rows.at[roles.band, "instrument_f1"] - floor) < 1e-5 and abs(own) < 1e-9,
    )
    return findings


def _listed(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.3f}" for value in values)


def _nulls(table: pd.DataFrame, roles: Roles) -> dict[str, Sequence[str]]:
    """The rows that must be at chance, by what is said of them."""
    return {
        "The ground truth does not follow the descriptions of other songs": [RANDOM_TEXT],
        "AMT without text is at chance": [name for name in table["system"] if name.startswith(UNCONDITIONAL)],
        "A model trained with shuffled descriptions is at chance": roles.shuffled,
        "Copies of training songs are at chance": [roles.copy],
    }


def n_null_tests(table: pd.DataFrame, roles: Roles) -> int:
    """How many tests there are of what must be at chance: each of `TEXT_SCORES`, of each row."""
    return len(TEXT_SCORES) * sum(map(len, _nulls(table, roles).values()))


def followers(table: pd.DataFrame, systems: Sequence[System], roles: Roles) -> list[list[str]]:
    """Which trained rows follow their descriptions: name, and yes or no by each of `TEXT_SCORES`; not planted."""
    rows = table.set_index("system")
    lines = []
    for system in systems:
        if system.variant is None or system.name in roles.shuffled or system.sampling:
            continue
        tests = (rows.at[system.name, f"{score}_own_minus_others_p"] for score in TEXT_SCORES.values())
        lines.append([system.name, *("yes" if p < LEVEL else "no" for p in tests)])
    return lines


def study_table(table: pd.DataFrame, systems: Sequence[System]) -> str:
    """The rows and the study's scores, in Markdown."""
    columns: list[Score] = [score for score in scores(embedding_of(table)) if score.value in SHOWN]
    columns.sort(key=lambda score: SHOWN.index(score.value))
    rows = table.set_index("system")
    lines = [
        [system.name, *(cells(rows.loc[system.name], score, clap=False)[0] for score in columns)] for system in systems
    ]
    return markdown_table(["row", *(score.heading for score in columns)], lines)


def paper_ranks(table: pd.DataFrame) -> str:
    """The order of the paper's rows by FAD and by validation loss, in the paper and here, in Markdown."""
    shown = table[table["report_fad"].notna()].set_index("system")
    amt = shown.index.str.startswith("amt")
    ranks = [
        shown["report_fad"].rank(),
        shown["fad"].rank(),
        shown["report_val_loss"].groupby(amt).rank("dense"),  # two temperatures have one loss
        shown["val_loss"].groupby(amt).rank("dense"),
    ]
    lines = [
        [name, *("–" if pd.isna(column[name]) else f"{column[name]:g}" for column in ranks)] for name in shown.index
    ]
    return markdown_table(["row", "FAD: paper", "FAD: here", "val loss: paper", "val loss: here"], lines)


def plot_own_and_others(table: pd.DataFrame, systems: Sequence[System]) -> Figure:
    """Instrument F1 of each row with its own descriptions (95 % intervals), and with those of other songs."""
    rows = table.set_index("system").loc[[system.name for system in systems]]
    heights = np.arange(len(rows))[::-1]
    own = rows["instrument_f1"].to_numpy(float)
    errors = np.abs(rows[["instrument_f1_low", "instrument_f1_high"]].to_numpy(float).T - own)
    others = own - rows["instrument_f1_own_minus_others"].to_numpy(float)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8, 1.2 + 0.24 * len(rows)), layout="constrained")
        axes = figure.subplots()
        axes.hlines(heights, others, own, color=INK, alpha=0.3, linewidth=1.5)
        axes.errorbar(
            own, heights, xerr=errors, color=COLOURS[0], fmt="o", markersize=4, capsize=2, label="its own description"
        )
        axes.plot(others, heights, "D", color=COLOURS[1], markersize=4, markerfacecolor="none", label="other songs'")
        axes.axvline(
            rows["instrument_f1_floor"].iloc[0], color=INK, linestyle="--", linewidth=0.9, label="constant band"
        )
        axes.set_yticks(heights, [row_name(system) for system in systems])
        axes.set_xlim(0, 1)
        axes.set_title("F1 of the instruments, by whose description is asked", loc="left")
        figure.legend(loc="outside lower right", ncols=3)
    return figure


def plot_against(
    table: pd.DataFrame, panels: Mapping[str, Mapping[str, Mapping[float, str]]], names: Mapping[str, str]
) -> Figure:
    """Scores against what was varied: a row of panels for each thing varied, a column for each score.

    Args:
        table: the results table.
        panels: by what was varied, the lines by their name in the legend, which may be empty; each with rows of the
            table by the number that was varied.
        names: the score's column in the table, by its title.
    """
    rows = table.set_index("system")
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(2.3 * len(names), 2.1 * len(panels)), layout="constrained")
        grid = figure.subplots(len(panels), len(names), squeeze=False)
        for strip, (what, lines) in zip(grid, panels.items(), strict=True):
            for axes, (title, column) in zip(strip, names.items(), strict=True):
                for (name, found), colour, marker in zip(lines.items(), COLOURS, MARKS, strict=False):
                    values = rows.loc[[*found.values()]]
                    axes.plot([*found], values[column], color=colour, marker=marker, markersize=4, label=name)
                    if f"{column}_low" in rows:
                        low, high = values[f"{column}_low"], values[f"{column}_high"]
                        axes.fill_between([*found], low, high, color=colour, alpha=0.2)
                axes.set_title(title, loc="left")
                axes.set_xlabel(what)
                axes.set_ylim(bottom=min(0, axes.get_ylim()[0]))
            if len(lines) > 1:
                strip[0].legend(fontsize="small")
    return figure
