"""What became of every song: the dataset's counts, beside the paper's (section 5.2)."""

from collections import Counter
from collections.abc import Iterable

from libretto.data.splits import SPLITS
from libretto.tokens.vocab import TICKS_PER_SECOND

PAPER_SONGS = {"train": 132_460, "valid": 9_618, "test": 9_448}  # before the cuts; 151,526 in all


def summarize(songs: Iterable[dict], dropped: Iterable[dict], n_members: int, n_rows: int) -> dict:
    """Count songs, chunks and tokens per split, and what was dropped, by stage and reason.

    Args:
        songs: rows of `data/songs.parquet`.
        dropped: rows of `data/dropped.parquet`.
        n_members: number of members of the archive.
        n_rows: number of rows of MidiCaps.

    Returns:
        What `data/summary.json` holds. `members` and `rows` are those of the archive and of MidiCaps.

    Raises:
        RuntimeError: a member, or a row of MidiCaps, is neither in a split nor dropped, or is counted twice.
    """
    rows = []
    splits: dict[str, Counter[str]] = {split: Counter() for split in (*SPLITS, "background")}
    chunks_dropped = 0
    duplicates: dict[str, Counter[str]] = {split: Counter() for split in SPLITS[1:]}
    for song in songs:
        counts = splits[song["split"]]
        counts["songs_before_cut"] += song["dropped"] in (None, "cut")
        chunks_dropped += song["n_chunks_dropped"]
        if song["dropped"] is None:
            rows.append(song["row"])
            _count(counts, song)
        if song["background"]:
            splits["background"]["songs_before_cut"] += 1
            _count(splits["background"], song)
        if song["duplicate"]:
            duplicates[song["split"]][song["duplicate"]] += 1
    reasons: dict[str, Counter[str]] = {}
    n_dropped: Counter[str] = Counter()
    for row in dropped:
        by_reason = reasons.setdefault(row["stage"], Counter())
        by_reason[row["reason"]] += 1
        n_dropped["members"] += row["member"] is not None
        if row["row"] is not None:
            rows.append(row["row"])
    used = sum(splits[split]["songs"] for split in SPLITS)
    if used + n_dropped["members"] != n_members:
        found = used + n_dropped["members"]
        raise RuntimeError(f"the archive has {n_members} members, but {found} are in the splits or dropped")
    if sorted(rows) != list(range(n_rows)):
        raise RuntimeError("a row of MidiCaps is neither in a split nor dropped, or is counted twice")
    names = ("songs_before_cut", "songs", "chunks", "tokens", "events", "hours")
    return {
        "members": n_members,
        "rows": n_rows,
        "songs": used,
        "songs_before_cut": sum(splits[split]["songs_before_cut"] for split in SPLITS),
        "splits": {split: {name: counts[name] for name in names} for split, counts in splits.items()},
        "chunks_of_100_s": chunks_dropped,
        "dropped": {stage: dict(sorted(counts.items())) for stage, counts in sorted(reasons.items())},
        "duplicates_across_splits": {
            split: {kind: counts[kind] for kind in ("bytes", "tokens")} for split, counts in duplicates.items()
        },
        "report": {"songs_before_cut": {"all": sum(PAPER_SONGS.values()), **PAPER_SONGS}},
    }


def _count(counts: Counter, song: dict) -> None:
    counts["songs"] += 1
    counts["chunks"] += song["n_chunks"]
    counts["tokens"] += song["n_tokens"]
    counts["events"] += song["n_events"]
    counts["hours"] += song["end_time"] / TICKS_PER_SECOND / 3_600
