"""Scores of a system's notes: how many, how many invalid, whether time advances, and the instruments asked for."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from libretto.tokens.analysis import described_instruments, instruments_of, precision_recall_f1, time_scores
from libretto.tokens.instruments import INSTRUMENT_NAMES
from libretto.tokens.reference import valid_events

BAND = 5  # instruments: as many as MidiCaps names


def note_scores(
    samples: Sequence[Mapping], summaries: Mapping[str, Sequence[str]]
) -> tuple[dict[str, dict[int, float]], dict[str, int]]:
    """Scores of each sample's notes.

    Args:
        samples: rows of samples/{system}/tokens.parquet.
        summaries: MidiCaps' `instrument_summary` by lmd_id; those of the prompts are used.

    Returns:
        By name, the scores of the samples by their index: notes per sample; the share of invalid events (of samples
        with any event); what `time_scores` gives, as `crowded_share`, `short_share` and `onsets_per_sample`; precision,
        recall and F1 of the instruments (of samples whose description names one that we know). And counts: of the
        samples that the last are over, and of names in descriptions that we do not know.
    """
    names = ("crowded_share", "short_share", "onsets_per_sample")
    found: dict[str, dict[int, float]] = {name: {} for name in ("notes_per_sample", "invalid_share", *names)}
    found |= {f"instrument_{name}": {} for name in ("precision", "recall", "f1")}
    unknown = 0
    for row in samples:
        index = row["index"]
        found["notes_per_sample"][index] = row["n_events"]
        if total := row["n_events"] + row["n_invalid"]:
            found["invalid_share"][index] = row["n_invalid"] / total
        for name, value in zip(names, time_scores(valid_events(row["tokens"])[0]), strict=True):
            found[name][index] = value
        described, others = described_instruments(summaries[row["prompt_lmd_id"]] or [])
        unknown += len(others)
        if described:
            triple = precision_recall_f1(instruments_of(row["tokens"]), described)
            for name, value in zip(("precision", "recall", "f1"), triple, strict=True):
                found[f"instrument_{name}"][index] = value
    return found, {"n_instruments": len(found["instrument_f1"]), "n_unknown_instrument_names": unknown}


def constant_band(summaries: Iterable[Sequence[str] | None]) -> set[str]:
    """The five instruments that descriptions name most often: what a system could always play.

    Args:
        summaries: MidiCaps' `instrument_summary` of the training songs.
    """
    counts = Counter(name for summary in summaries for name in described_instruments(summary or [])[0])
    return {name for name, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:BAND]}


def band_f1(band: set[str], samples: Sequence[Mapping], summaries: Mapping[str, Sequence[str]]) -> float | None:
    """Mean F1 of the constant band with the samples' descriptions; None if none names an instrument that we know."""
    described = [described_instruments(summaries[row["prompt_lmd_id"]] or [])[0] for row in samples]
    values = [precision_recall_f1(band, wanted)[2] for wanted in described if wanted]
    return float(np.mean(values)) if values else None


def instrument_f1_matrix(samples: Sequence[Mapping], summaries: Mapping[str, Sequence[str]]) -> np.ndarray:
    """F1 of each sample's instruments with each sample's description.

    Args:
        samples: as in `note_scores`; those whose description names no instrument that we know are left out.
        summaries: as there.

    Returns:
        float [n, n], row i being the music of sample i, column j the description of sample j.
    """
    pairs = [(row, described_instruments(summaries[row["prompt_lmd_id"]] or [])[0]) for row in samples]
    pairs = [(row, described) for row, described in pairs if described]
    names = sorted(set(INSTRUMENT_NAMES))
    heard = [instruments_of(row["tokens"]) for row, _ in pairs]
    sounding = np.array([[name in own for name in names] for own in heard])
    wanted = np.array([[name in described for name in names] for _, described in pairs])
    if not pairs:
        return np.empty((0, 0))
    hits = sounding.astype(float) @ wanted.T.astype(float)
    return 2 * hits / (sounding.sum(1)[:, None] + wanted.sum(1)[None, :])
