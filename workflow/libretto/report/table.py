"""The results table: a row per system, this run's figures beside the paper's (paper, Table 3)."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd

from libretto.config.embeddings import PAPER_EMBEDDING
from libretto.config.systems import System
from libretto.errors import InputError
from libretto.scores.comparisons import like_the_best

NOTE_SCORES = (
    *("notes_per_sample", "invalid_share", "crowded_share", "short_share", "onsets_per_sample"),
    *("instrument_precision", "instrument_recall", "instrument_f1"),
)

MUSIC_SCORES = ("duration_s", "notes_per_s", "polyphony", "pitch_class_entropy", "scale_consistency")

# Scores that are computed with other descriptions too.
FOLLOWED = ("instrument_f1", "clap", "key_match", "tempo_match")

# Scores of which a sample has one, and whether more is better.
BETTER_HIGH = {
    **dict.fromkeys(("invalid_share", "crowded_share", "short_share"), False),
    **dict.fromkeys(("instrument_precision", "instrument_recall", "instrument_f1"), True),
    **dict.fromkeys(("clap", "key_match", "tempo_match"), True),
}

# Scores by which the best of several candidates was kept.
CHOSEN_BY = (
    *("invalid_share", "crowded_share", "short_share"),
    *("instrument_precision", "instrument_recall", "instrument_f1", "key_match", "tempo_match"),
    *("instrument_f1_own_minus_others", "key_match_own_minus_others", "tempo_match_own_minus_others"),
)

# The names in metrics/{system}.json that every table has, in this order; further names of the files come after them.
METRICS = (
    "val_loss",
    "fad",
    "fad_sub_mean",
    "fad_sub_sem",
    "clap_mean",
    "clap_sem",
    "fad_embedding",
    "n",
    "n_missing",
    "val_loss_music",
    "val_loss_music_random_text",
    *(f"{name}{suffix}" for name in NOTE_SCORES for suffix in ("", "_sem", "_low", "_high")),
    *("clap_low", "clap_high", "fad_without_one", "fad_infinity", "kad", "fad_clap", "kad_clap"),
    *("fad_floor", "instrument_f1_floor"),
    *(f"{name}_own_minus_others{suffix}" for name in FOLLOWED for suffix in ("", "_p")),
    *(
        f"{name}{suffix}"
        for name in (*MUSIC_SCORES, "key_match", "tempo_match", "copied_share", "fad_per_sample")
        for suffix in ("", "_sem", "_low", "_high")
    ),
    "music_distance",
    *(f"val_loss_music_own_minus_others{suffix}" for suffix in ("", "_sem", "_low", "_high", "_p")),
)
PAPER_COLUMNS = tuple(f"report_{name}" for name in METRICS[:6])


def build_table(metrics: Mapping[str, dict], paper: pd.DataFrame) -> pd.DataFrame:
    """The table of all systems.

    Args:
        metrics: the content of metrics/{system}.json by system, in the order of the rows.
        paper: the paper's Table 3: a column `system` and those of `PAPER_COLUMNS`.

    Returns:
        A row per system: `system`, the names of `METRICS`, further numbers and names of the files, then
        `PAPER_COLUMNS`, which are empty for a system that is not in the paper.
    """
    further = {
        name: None
        for values in metrics.values()
        for name, value in values.items()
        if name not in (*METRICS, "system") and isinstance(value, str | int | float)
    }
    rows = [
        {"system": system} | {name: values.get(name) for name in (*METRICS, *further)}
        for system, values in metrics.items()
    ]
    table = pd.DataFrame(rows).merge(paper, how="left", on="system", validate="one_to_one")
    return table[["system", *METRICS, *further, *PAPER_COLUMNS]]


def mark_like_best(table: pd.DataFrame, comparisons: pd.DataFrame, systems: Iterable[System]) -> pd.DataFrame:
    """The table with `best_of`, and `<score>_like_best` for each score of a sample that has a better direction.

    Args:
        table: of `build_table`.
        comparisons: of `libretto.scores.comparisons.compare`.
        systems: the rows; those that are not sampled, have a length of their own, or were chosen by the score, are
            not compared with the best.
    """
    candidates = {system.name for system in systems if system.is_sampled and not system.has_own_length}
    best_of = {system.name: system.best_of for system in systems}
    columns = {"best_of": table["system"].map(best_of).fillna(1).astype(int)}
    for name, higher_is_better in BETTER_HIGH.items():
        column = "clap_mean" if name == "clap" else name
        sampled = table["system"].isin(candidates)
        if name in CHOSEN_BY:
            sampled &= columns["best_of"] == 1
        means = table[sampled & table[column].notna()].set_index("system")[column].to_dict()
        like_best = like_the_best(comparisons, means, name, higher_is_better)
        if like_best == means.keys():  # a mark on every row says nothing
            like_best = set()
        columns[f"{column}_like_best"] = table["system"].isin(like_best)
    return table.assign(**columns)


def write_csv(table: pd.DataFrame, path: str | Path) -> None:
    """Write with six significant digits: enough for every score, and the same bytes for the same figures."""
    table.to_csv(path, index=False, float_format="%.6g", lineterminator="\n")


def embedding_of(table: pd.DataFrame) -> str:
    """The embedding in which FAD was computed.

    Raises:
        InputError: the rows' scores were computed in different ones and cannot stand in one table.
    """
    embeddings = sorted(table["fad_embedding"].dropna().unique())
    if len(embeddings) > 1:
        raise InputError(
            f"FAD was computed in several embeddings ({', '.join(embeddings)}): delete the metrics folder and run again"
        )
    return embeddings[0] if embeddings else PAPER_EMBEDDING
