"""Controls: music whose scores of text, or of memory, are known beforehand, so that they test the scores."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from libretto.data.middle import middle_chunk
from libretto.scores.notes import constant_band
from libretto.tokens.analysis import described_instruments
from libretto.tokens.instruments import INSTRUMENT_NAMES
from libretto.tokens.reference import events_to_tokens, valid_events
from libretto.tokens.vocab import DRUMS, PITCHES


def control_pieces(
    control: str, train: Sequence[Mapping], test: Sequence[Mapping], pairs: Sequence[Mapping], share: float, seed: int
) -> Iterator[list[int]]:
    """The tokens of a control, a piece for each test song.

    Args:
        control: `training-copy`, the middle chunks of training songs; `constant-band`, the test songs played by the
            five instruments that the training songs' descriptions name most often, a note each in turn; or
            `wrong-instruments`, the test songs with some instruments replaced by others.
        train: as many training songs as there are test songs, with `chunks`.
        test: the test songs, with `lmd_id` and `chunks`.
        pairs: `lmd_id`, `split` and `instrument_summary` of all songs.
        share: of `wrong-instruments`: how probable it is that an instrument is replaced.
        seed: of that draw.
    """
    summaries = {row["lmd_id"]: row["instrument_summary"] or [] for row in pairs}
    band = constant_band(row["instrument_summary"] for row in pairs if row["split"] == "train")
    programs = sorted(INSTRUMENT_NAMES.index(name) for name in band)
    for index, song in enumerate(test):
        tokens = middle_chunk((train[index] if control == "training-copy" else song)["chunks"])[1:]
        if control == "training-copy":
            yield list(tokens)
            continue
        events = valid_events(tokens)[0].copy()
        instruments, pitches = np.divmod(events[:, 2], PITCHES)
        if control == "constant-band":
            instruments = np.resize(programs, len(events))
        else:
            draws = np.random.default_rng((seed, index))
            instruments = _replaced(instruments, summaries[song["lmd_id"]], share, draws)
        events[:, 2] = PITCHES * instruments + pitches
        yield events_to_tokens(events).tolist()


def _replaced(instruments: np.ndarray, summary: Sequence[str], share: float, draws: np.random.Generator) -> np.ndarray:
    """The instruments, some replaced by melodic ones that neither sound nor are described."""
    sounding = np.unique(instruments)
    taken = described_instruments(summary)[0] | {INSTRUMENT_NAMES[number] for number in sounding}
    others = draws.permutation([number for number in range(DRUMS) if INSTRUMENT_NAMES[number] not in taken])
    replaced = instruments.copy()
    for old, new, draw in zip(sounding, others, draws.random(len(sounding)), strict=False):
        if draw < share:
            replaced[instruments == old] = new
    return replaced
