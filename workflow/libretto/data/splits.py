"""From whole songs to the chunks that models are trained on and scored against (paper, section 5.2)."""

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from libretto.tables import read_rows
from libretto.tokens.reference import events_to_tokens, tokens_to_events
from libretto.tokens.vocab import AUTOREGRESS, MAX_TIME, TOKENS_PER_EVENT

SPLITS = ("train", "valid", "test")  # a song that is in two of them stays in the first


def chunk_song(tokens: np.ndarray, chunk_tokens: int, long_chunks: str) -> tuple[list[np.ndarray], int]:
    """Cut a song into chunks that do not overlap.

    Args:
        tokens: the whole song, int32 [3 n], as both tokenizers give it.
        chunk_tokens: the maximum length of a chunk: the start token and (chunk_tokens - 1) // 3 events.
        long_chunks: what happens to a chunk that spans 100 s or more, which the time tokens cannot express: `drop`
            leaves it out, as the reference does; `cut` ends it early, and the next one begins there.

    Returns:
        The chunks, uint16 each, the last one possibly shorter: AUTOREGRESS, then events whose onsets count from the
        chunk's first. And how many chunks were left out.
    """
    events = tokens_to_events(tokens)
    size = (chunk_tokens - 1) // TOKENS_PER_EVENT
    chunks, n_dropped, start = [], 0, 0
    while start < len(events):
        chunk = events[start : start + size] - (events[start, 0], 0, 0)
        if long_chunks == "cut":
            chunk = chunk[: np.searchsorted(chunk[:, 0], MAX_TIME)]
        if chunk[-1, 0] < MAX_TIME:
            chunks.append(np.concatenate([[AUTOREGRESS], events_to_tokens(chunk)]).astype(np.uint16))
        else:
            n_dropped += 1
        start += len(chunk)
    return chunks, n_dropped


def merge_songs(paths: Iterable[str | Path]) -> Iterator[dict]:
    """The songs of several token tables, merged in MidiCaps' order, which each table has; few are in memory at once."""
    return heapq.merge(*map(read_rows, paths), key=lambda song: song["row"])


def find_duplicates(songs: Iterable[dict]) -> dict[str, str]:
    """Songs that an earlier split contains too.

    Args:
        songs: `lmd_id`, `split`, `midi_sha256`, `tokens_sha256` of every song.

    Returns:
        "bytes" or "tokens" by `lmd_id`: which of the two is identical.
    """
    songs = sorted(songs, key=lambda song: SPLITS.index(song["split"]))
    first_split: dict[tuple[str, str], str] = {}
    duplicates: dict[str, str] = {}
    for song in songs:
        for kind in ("bytes", "tokens"):
            digest = song["midi_sha256" if kind == "bytes" else "tokens_sha256"]
            if first_split.setdefault((kind, digest), song["split"]) != song["split"]:
                duplicates.setdefault(song["lmd_id"], kind)
    return duplicates


def assign_splits(
    songs: Iterable[dict],
    chunk_tokens: int,
    long_chunks: str,
    cuts: dict[str, int],
    n_fad_reference: int,
    duplicates: dict[str, str],
    deduplicate: bool,
) -> Iterator[dict]:
    """Cut songs into chunks and decide what becomes of each.

    Args:
        songs: rows of token tables, in MidiCaps' order.
        chunk_tokens: the maximum length of a chunk.
        long_chunks: `drop` or `cut`: see `chunk_song`.
        cuts: the maximum number of songs used, by split: the first ones that have a chunk.
        n_fad_reference: how many of the first test songs, counted before the cut, are FAD's reference set.
        duplicates: as `find_duplicates` gives them.
        deduplicate: whether to drop them.

    Yields:
        Each song with its `chunks` and the columns of `SONGS`, whose `dropped` is `no-chunk`, `duplicate-bytes`,
        `duplicate-tokens`, `cut` or None.
    """
    usable: Counter[str] = Counter()
    for song in songs:
        split, duplicate = song["split"], duplicates.get(song["lmd_id"])
        chunks, n_dropped = chunk_song(song["tokens"], chunk_tokens, long_chunks)
        reason, in_fad_reference = None, False
        if not chunks:
            reason = "no-chunk"
        elif duplicate and deduplicate:
            reason = f"duplicate-{duplicate}"
        else:
            in_fad_reference = split == "test" and usable[split] < n_fad_reference
            if split in cuts and usable[split] >= cuts[split]:
                reason = "cut"
            usable[split] += 1
        yield song | {
            "chunks": chunks,
            "n_chunks": len(chunks),
            "n_chunks_dropped": n_dropped,
            "n_tokens": sum(map(len, chunks)),
            "duplicate": duplicate,
            "dropped": reason,
            "background": in_fad_reference,
        }
