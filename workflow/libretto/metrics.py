"""The scores of a system: FAD, FAD-sub and CLAP (report, section 5.3), and what its notes say about it."""

from collections.abc import Mapping, Sequence

import numpy as np

from libretto.instruments import INSTRUMENT_NAMES, midicaps_name
from libretto.midi import valid_events
from libretto.seeds import stable_seed
from libretto.vocab import PITCHES

ROUNDING = 1e-6  # how far below zero, relative to the largest, rounding may push an eigenvalue that is none


def mean_and_sem(values: Sequence[float]) -> tuple[float | None, float | None]:
    """Mean and standard error of the mean (ddof 1); None where there are too few values for it."""
    mean = float(np.mean(values)) if len(values) else None
    sem = float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None
    return mean, sem


def frechet_distance(ours: np.ndarray, reference: np.ndarray) -> float:
    """The Fréchet distance of two sets of embeddings, each taken as a Gaussian (report, section 5.3):

        |μ_b − μ_e|² + tr(Σ_b + Σ_e − 2 √(Σ_b Σ_e))

    The trace of √(Σ_b Σ_e) is taken as that of √(√Σ_b Σ_e √Σ_b), which is the same and, being symmetric, stays real.

    Args:
        ours: [n, d], n > 1.
        reference: [m, d], m > 1.

    Raises:
        ValueError: too few rows, or values that are not finite.
    """
    if min(len(ours), len(reference)) < 2:
        raise ValueError(f"a Fréchet distance needs two embeddings or more: there are {len(ours)} and {len(reference)}")
    ours, reference = np.asarray(ours, np.float64), np.asarray(reference, np.float64)
    if not (np.isfinite(ours).all() and np.isfinite(reference).all()):
        raise ValueError("a Fréchet distance needs embeddings that are finite")
    difference = ours.mean(axis=0) - reference.mean(axis=0)
    sigma, sigma_reference = _covariance(ours), _covariance(reference)
    values, vectors = np.linalg.eigh(sigma_reference)
    root = vectors * np.sqrt(_not_negative(values)) @ vectors.T
    cross = np.sqrt(_not_negative(np.linalg.eigvalsh(root @ sigma @ root))).sum()
    return float(difference @ difference + np.trace(sigma) + np.trace(sigma_reference) - 2 * cross)


def _covariance(rows: np.ndarray) -> np.ndarray:
    return np.atleast_2d(np.cov(rows, rowvar=False))


def _not_negative(eigenvalues: np.ndarray) -> np.ndarray:
    if eigenvalues.min() < -ROUNDING * max(eigenvalues.max(), 1e-12):
        raise ValueError(f"a covariance has the eigenvalue {eigenvalues.min()}: it is no covariance")
    return np.clip(eigenvalues, 0, None)


def fad(clips: Mapping[int, np.ndarray], background: Mapping[int, np.ndarray]) -> float:
    """Fréchet audio distance: of the embeddings [·, d] of all clips from those of the background's."""
    return frechet_distance(np.concatenate(list(clips.values())), np.concatenate(list(background.values())))


def fad_sub(
    clips: Mapping[int, np.ndarray], background: Mapping[int, np.ndarray], draws: int, size: int, seed: int
) -> list[float]:
    """FAD of random subsets: `draws` times `size` clips, drawn without replacement (report, Table 3).

    Systems with the same clips get the same draws. Empty where there are fewer than `size` clips.
    """
    if len(clips) < size:
        return []
    distances = []
    for draw in range(draws):
        order = np.random.default_rng(stable_seed(seed, "fad-sub", draw)).permutation(sorted(clips))
        distances.append(fad({index: clips[index] for index in sorted(order[:size].tolist())}, background))
    return distances


def instruments_of(tokens: Sequence[int]) -> set[str]:
    """The instruments that sound in a sample, by MidiCaps' names."""
    events, _ = valid_events(tokens)
    return {INSTRUMENT_NAMES[number] for number in np.unique(events[:, 2] // PITCHES)}


def described_instruments(summary: Sequence[str]) -> tuple[set[str], list[str]]:
    """A description's instruments by MidiCaps' names, and those among them that are no instrument that we know."""
    names = {midicaps_name(name) for name in summary}
    return names & set(INSTRUMENT_NAMES), sorted(names - set(INSTRUMENT_NAMES))


def precision_recall_f1(sounding: set[str], described: set[str]) -> tuple[float, float, float]:
    """How much of what sounds was asked for, how much of what was asked for sounds, and their harmonic mean.

    Precision is 0 where nothing sounds. `described` must not be empty. MidiCaps names at most five instruments of
    a song, so that music with more cannot reach a precision of 1.
    """
    hits = len(sounding & described)
    precision = hits / len(sounding) if sounding else 0.0
    return precision, hits / len(described), 2 * hits / (len(sounding) + len(described))


def note_scores(samples: Sequence[Mapping], summaries: Mapping[str, Sequence[str]]) -> dict:
    """Scores of the notes.

    Args:
        samples: rows of samples/{system}/tokens.parquet.
        summaries: MidiCaps' `instrument_summary` by lmd_id; those of the prompts are used.

    Returns:
        Mean and SEM over samples of: notes per sample; the share of invalid events (over samples with any event);
        precision, recall and F1 of the instruments (over samples whose description names one that we know). And how
        many samples the last is over, and how often a description names an instrument that we do not know.
    """
    shares = [row["n_invalid"] / total for row in samples if (total := row["n_events"] + row["n_invalid"])]
    columns = {"notes_per_sample": [row["n_events"] for row in samples], "invalid_share": shares}
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


def clap_score(windows: np.ndarray, text: np.ndarray) -> float:
    """The CLAP score of a clip: the mean cosine of the angle between each of its windows and the text.

    The authors score one random window of 10 s (the paper, section 5.3). The mean over windows that cover the clip
    estimates the expected value of that.

    Args:
        windows: [k, d], unit length.
        text: [d], unit length: the description that the clip is paired with.

    Returns:
        In -1..1.
    """
    return float(np.mean(np.asarray(windows, np.float64) @ np.asarray(text, np.float64)))
