"""Scores of a sample's music alone: how dense, how many voices, how tonal; its key; how far a system is from others.

Pitches are those of all instruments but drums.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from scipy import stats

from libretto.tokens.analysis import KEYS, SCALES, estimate_key, parse_key, same_key
from libretto.tokens.reference import valid_events
from libretto.tokens.vocab import DRUMS, PITCHES, TICKS_PER_SECOND

MUSIC_SCORES = ("duration_s", "notes_per_s", "polyphony", "pitch_class_entropy", "scale_consistency")
IN_SCALE = np.array([[(pitch - tonic) % 12 in SCALES[mode] for pitch in range(12)] for tonic, mode in KEYS])


def music_scores(tokens: Sequence[int]) -> dict[str, float]:
    """The scores of a sample by name; those that need notes, or pitches, are left out where there are none.

    duration_s: from the first onset to the last note's end. notes_per_s: notes by that. polyphony: how many different
    pitches sound, on average over the time in which any does. pitch_class_entropy: of the notes' pitch classes, in bits
    (0 to 3.58). scale_consistency: the share of notes in the major or minor scale that fits best. As muspy defines
    them (Dong et al., 2020).
    """
    events, _ = valid_events(tokens)
    if not len(events):
        return {}
    onsets, durations, notes = events.T
    seconds = max(1, int((onsets + durations).max() - onsets.min())) / TICKS_PER_SECOND
    found = {"duration_s": seconds, "notes_per_s": len(events) / seconds}
    melodic = events[notes // PITCHES != DRUMS]
    if not len(melodic):
        return found
    classes = np.bincount(melodic[:, 2] % PITCHES % 12, minlength=12) / len(melodic)
    found["pitch_class_entropy"] = float(stats.entropy(classes, base=2))
    found["scale_consistency"] = float((IN_SCALE @ classes).max())
    if sounding := _sounding_pitches(melodic):
        found["polyphony"] = sounding
    return found


def _sounding_pitches(events):
    """The mean number of pitches over the time in which any sounds; None if all notes are of zero length."""
    first = events[:, 0].min()
    starts, ends = events[:, 0] - first, events[:, 0] - first + events[:, 1]
    changes = np.zeros((PITCHES, ends.max() + 1), dtype=np.int32)
    pitches = events[:, 2] % PITCHES
    np.add.at(changes, (pitches, starts), 1)
    np.add.at(changes, (pitches, ends), -1)
    count = (changes.cumsum(1) > 0).sum(0)
    return float(count[count > 0].mean()) if count.any() else None


def key_matrix(samples: Sequence[Mapping], keys: Mapping[str, str | None]) -> np.ndarray:
    """Whether each sample's key is that of each sample's description.

    Args:
        samples: rows of samples/{system}/tokens.parquet; those whose description has no key are left out.
        keys: MidiCaps' `key` by lmd_id.

    Returns:
        float [n, n], row i being the music of sample i, column j the description of sample j.
    """
    wanted = {row["index"]: key for row in samples if (key := parse_key(keys[row["prompt_lmd_id"]]))}
    found = [estimate_key(row["tokens"]) for row in samples if row["index"] in wanted]
    matches = [[float(same_key(own, key)) for key in wanted.values()] for own in found]
    return np.array(matches).reshape(len(wanted), len(wanted))


def scores_by_name(samples: Sequence[Mapping], keys: Mapping[str, str | None]) -> dict[str, dict[int, float]]:
    """`MUSIC_SCORES` and `key_match`, whether the key is that of the description, of the samples by their index.

    Args:
        samples: rows of samples/{system}/tokens.parquet.
        keys: MidiCaps' `key` by lmd_id.
    """
    found: dict[str, dict[int, float]] = {name: {} for name in (*MUSIC_SCORES, "key_match")}
    for row in samples:
        for name, value in music_scores(row["tokens"]).items():
            found[name][row["index"]] = value
        if wanted := parse_key(keys[row["prompt_lmd_id"]]):
            found["key_match"][row["index"]] = float(same_key(estimate_key(row["tokens"]), wanted))
    return found


def music_distance(scores: Mapping[str, Sequence[float]], reference: Mapping[str, Sequence[float]]) -> float | None:
    """How far the distributions of `MUSIC_SCORES` are from those of other music.

    The mean of their Wasserstein distances, each in standard deviations of the reference.

    Args:
        scores: of a system's samples, by name.
        reference: of the ground truth's.
    """
    distances = [
        stats.wasserstein_distance(scores[name], reference[name]) / np.std(reference[name])
        for name in MUSIC_SCORES
        if len(scores[name]) and len(reference[name]) and np.std(reference[name]) > 0
    ]
    return float(np.mean(distances)) if distances else None
