"""Songs of the archive without a caption: music for a first training without text."""

from collections.abc import Collection, Iterable

import numpy as np

from libretto.data.splits import chunk_song
from libretto.data.tokenization import tokenize_song


def uncaptioned(dropped: Iterable[dict]) -> dict[str, str]:
    """The songs that the captions do not name: their `member` by `lmd_id`.

    Args:
        dropped: rows of `data/unpaired.parquet`.
    """
    return {row["lmd_id"]: row["member"] for row in dropped if row["reason"] == "no-midicaps-row"}


def unpaired_chunks(
    midi: bytes, held_out: Collection[str], chunk_tokens: int, long_chunks: str
) -> list[np.ndarray] | str:
    """A song's chunks, by the rules for songs with a caption, or the reason why it is dropped.

    Args:
        midi: the file.
        held_out: `tokens_sha256` of the songs that no training may read.
        chunk_tokens, long_chunks: as in `chunk_song`.

    Returns:
        The chunks; or a reason of `tokenize_song`, `held-out` or `no-chunk`.
    """
    song = tokenize_song(midi)
    if isinstance(song, str):
        return song
    if song["tokens_sha256"] in held_out:
        return "held-out"
    chunks, _ = chunk_song(song["tokens"], chunk_tokens, long_chunks)
    return chunks or "no-chunk"
