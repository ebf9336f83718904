"""The best of several candidates for a description, by their notes (the idea of Text2midi-InferAlign, no search)."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice

from libretto.tokens.analysis import (
    described_instruments,
    estimate_key,
    estimate_tempo,
    instruments_of,
    parse_key,
    precision_recall_f1,
    same_key,
    tempo_bin,
    time_scores,
)
from libretto.tokens.reference import valid_events

FEATURES = ("instrument_summary", "key", "tempo")  # MidiCaps' columns that are compared


def agreement(tokens: list[int], description: Mapping) -> tuple[bool, float]:
    """Whether a piece is music, and how well it agrees with its description; the larger, the better.

    Music is what is neither crowded nor short (`time_scores`) and has no more invalid events than valid ones. The
    agreement is the sum of what the description allows to compare, each from 0 to 1: the instruments' F1, whether the
    key is that or its relative, and whether the tempo is in its bin.

    Args:
        tokens: the piece.
        description: `FEATURES`; what is not known is None.
    """
    events, n_invalid = valid_events(tokens)
    crowded, short, _ = time_scores(events)
    agreed = 0.0
    if wanted := described_instruments(description["instrument_summary"] or [])[0]:
        agreed += precision_recall_f1(instruments_of(tokens), wanted)[2]
    if key := parse_key(description["key"]):
        agreed += same_key(estimate_key(tokens), key)
    if description["tempo"]:
        agreed += tempo_bin(estimate_tempo(tokens)) == tempo_bin(description["tempo"])
    return not crowded and not short and n_invalid <= len(events), agreed


def keep_best(
    pieces: Iterable[tuple[list[int], str]], descriptions: Iterable[Mapping], best_of: int
) -> Iterator[tuple[list[int], str, int]]:
    """Of each description's candidates, the first of those that agree with it best.

    Args:
        pieces: of `sample`: `best_of` for each description, one after the other.
        descriptions: `FEATURES` of each.
        best_of: the config's `sampling.best_of`.

    Yields:
        The piece, and which of the candidates it is, from 0.
    """
    pieces = iter(pieces)
    for description in descriptions:
        candidates = list(islice(pieces, best_of))
        ranks = [agreement(tokens, description) for tokens, _ in candidates]
        kept = max(range(best_of), key=ranks.__getitem__)
        yield *candidates[kept], kept
