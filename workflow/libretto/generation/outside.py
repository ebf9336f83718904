"""Music from elsewhere as samples: MIDI files that any other program made for the test set's descriptions."""

import logging
from collections.abc import Sequence
from pathlib import Path

from numba.core.errors import NumbaError

from libretto.errors import InputError
from libretto.tokens.compiled import midi_to_tokens_compiled
from libretto.tokens.reference import events_to_tokens, tokens_to_events
from libretto.tokens.vocab import MAX_TIME, TOKENS_PER_EVENT

logger = logging.getLogger("libretto")


def match_files(paths: Sequence[str], lmd_ids: Sequence[str], key: str) -> list[Path | None]:
    """The file of each test song: named after its lmd_id, or its number from 0000 on; None where there is none.

    Args:
        paths: of MIDI files.
        lmd_ids: of the test songs whose descriptions are used, in order.
        key: of the folder in the config, for errors.

    Raises:
        InputError: no file belongs to any of them.
    """
    by_stem = {Path(path).stem.lower(): Path(path) for path in paths}
    files = [by_stem.get(lmd_id, by_stem.get(f"{index:04d}")) for index, lmd_id in enumerate(lmd_ids)]
    found = [file for file in files if file]
    if not found:
        raise InputError(
            f"{key}: no file is named after a test song, such as {lmd_ids[0]}.mid or 0000.mid; "
            "samples/ground-truth/tokens.parquet has the songs' ids and descriptions in order"
        )
    if missing := [lmd_id for lmd_id, file in zip(lmd_ids, files, strict=True) if not file]:
        logger.warning("%d of %d descriptions have no file: %s", len(missing), len(files), " ".join(missing))
    if others := len(paths) - len(found):
        logger.warning("%d files belong to no description that is used", others)
    return files


def read_piece(file: Path | None, n_tokens: int) -> tuple[list[int], str]:
    """The first tokens of a MIDI file, as a model would have made them: from the first onset on, in at most 100 s.

    Args:
        file: the file; None if there is none.
        n_tokens: how many tokens a sample has at most.

    Returns:
        The tokens, and why they end: `length`, `time`, `end` of the file, `missing`, or `unreadable`.
    """
    if file is None:
        return [], "missing"
    data = file.read_bytes()
    try:
        events = tokens_to_events(midi_to_tokens_compiled(data))
    except (MemoryError, NumbaError):
        raise  # not the file's fault
    except Exception as error:  # mido's readers may raise nearly anything for a file that they cannot read
        logger.warning("%s cannot be read: %s: %s", file, type(error).__name__, error)
        return [], "unreadable"
    if len(events):
        events[:, 0] -= events[:, 0].min()
    timely = events[events[:, 0] < MAX_TIME]
    kept = timely[: n_tokens // TOKENS_PER_EVENT]
    stop = "length" if len(kept) < len(timely) else "time" if len(timely) < len(events) else "end"
    return events_to_tokens(kept).tolist(), stop
