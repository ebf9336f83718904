"""Scores of a system's notes: how many, how many invalid, whether time advances, and the instruments asked for."""

from collections.abc import Mapping, Sequence

import numpy as np

from libretto.scores.mean import mean_and_sem
from libretto.tokens.instruments import INSTRUMENT_NAMES, midicaps_name
from libretto.tokens.reference import valid_events
from libretto.tokens.vocab import PITCHES, TICKS_PER_SECOND

CROWD = 64  # notes that begin at once; more are taken for a model whose time has stopped
SHORT = 2 * TICKS_PER_SECOND  # ticks between the first and the last onset


def instruments_of(tokens: Sequence[int]) -> set[str]:
    """The instruments that sound in a sample, by MidiCaps' names."""
    events, _ = valid_events(tokens)
    return {INSTRUMENT_NAMES[number] for number in np.unique(events[:, 2] // PITCHES)}


def described_instruments(summary: Sequence[str]) -> tuple[set[str], list[str]]:
    """A description's instruments by MidiCaps' names, and the names that we do not know."""
    names = {midicaps_name(name) for name in summary}
    return names & set(INSTRUMENT_NAMES), sorted(names - set(INSTRUMENT_NAMES))


def precision_recall_f1(sounding: set[str], described: set[str]) -> tuple[float, float, float]:
    """How much of what sounds was asked for, how much of what was asked for sounds, and their harmonic mean.

    Precision is 0 if nothing sounds. `described` must not be empty. MidiCaps names at most five instruments of
    a song, so music with more cannot reach a precision of 1.
    """
    hits = len(sounding & described)
    precision = hits / len(sounding) if sounding else 0.0
    return precision, hits / len(described), 2 * hits / (len(sounding) + len(described))


def time_scores(events: np.ndarray) -> tuple[float, float, int]:
    """Whether time advances in a sample: the paper saw samples in which it does not (section 5.1).

    Args:
        events: int [n, 3] of onset in ticks, duration in ticks, and note.

    Returns:
        1.0 if more than 64 notes begin at one time, else 0.0; 1.0 if all begin within two seconds, else 0.0 (an empty
        sample does); and how many different onsets there are.
    """
    onsets, counts = np.unique(events[:, 0], return_counts=True)
    short = len(onsets) == 0 or onsets[-1] - onsets[0] < SHORT
    return float(counts.max(initial=0) > CROWD), float(short), len(onsets)


def note_scores(samples: Sequence[Mapping], summaries: Mapping[str, Sequence[str]]) -> dict:
    """Scores of the notes.

    Args:
        samples: rows of samples/{system}/tokens.parquet.
        summaries: MidiCaps' `instrument_summary` by lmd_id; those of the prompts are used.

    Returns:
        Mean and SEM over samples of: notes per sample; the share of invalid events (over samples with any event);
        what `time_scores` gives, as `crowded_share`, `short_share` and `onsets_per_sample`; precision, recall and F1
        of the instruments (over samples whose description names one that we know). And how many samples the last is
        over, and how often a description names an instrument that we do not know.
    """
    shares = [row["n_invalid"] / total for row in samples if (total := row["n_events"] + row["n_invalid"])]
    columns = {"notes_per_sample": [row["n_events"] for row in samples], "invalid_share": shares}
    times = [time_scores(valid_events(row["tokens"])[0]) for row in samples]
    for position, name in enumerate(("crowded_share", "short_share", "onsets_per_sample")):
        columns[name] = [scores[position] for scores in times]
    triples, unknown = [], 0
    for row in samples:
        described, others = described_instruments(summaries[row["prompt_lmd_id"]] or [])
        unknown += len(others)
        if described:
            triples.append(precision_recall_f1(instruments_of(row["tokens"]), described))
    for position, name in enumerate(("instrument_precision", "instrument_recall", "instrument_f1")):
        columns[name] = [triple[position] for triple in triples]
    scores = {}
    for name, values in columns.items():
        scores[name], scores[f"{name}_sem"] = mean_and_sem(values)
    return scores | {"n_instruments": len(triples), "n_unknown_instrument_names": unknown}
