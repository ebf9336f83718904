"""How much of a sample is copied from the training songs: so that memory is not taken for music."""

import itertools
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from libretto.tokens.reference import valid_events
from libretto.tokens.vocab import NOTE_OFFSET, TOKENS_PER_EVENT

RUN = 48  # notes: about four bars of a band
BATCH = 64  # songs at a time


def copied_shares(samples: Sequence[Mapping], train: Sequence[str]) -> dict[int, float]:
    """The share of each sample's notes in a run of 48 that a training song has too, by the sample's index.

    A run is notes in the order of their onsets (then of instruments and pitches), with equal pitches, instruments and
    times between onsets, to the hundredth of a second; when it begins, and how long notes are, does not matter. Samples
    of fewer notes have no share.

    Args:
        samples: rows of samples/{system}/tokens.parquet.
        train: the Parquet splits of the training songs, of which the chunks are read.
    """
    events = [valid_events(row["tokens"])[0] for row in samples]
    pieces = np.repeat(np.arange(len(events)), [len(own) for own in events])
    onsets, _, notes = np.concatenate(events).T if events else np.empty((3, 0), np.int64)
    hashes, starts, pieces = run_hashes(pieces, onsets, notes)
    wanted = np.unique(hashes)
    found = np.zeros(len(wanted), bool)
    for training in itertools.chain.from_iterable(map(_training_runs, train)):
        found |= np.isin(wanted, training)
    covered = np.zeros(len(pieces), bool)
    for start in starts[found[np.searchsorted(wanted, hashes)]]:
        covered[start : start + RUN] = True
    return {
        row["index"]: float(covered[pieces == number].mean())
        for number, row in enumerate(samples)
        if len(events[number]) >= RUN
    }


def run_hashes(pieces: np.ndarray, onsets: np.ndarray, notes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A hash of every run of 48 notes within a piece.

    Args:
        pieces: int [n], the piece of each note.
        onsets: int [n], in ticks.
        notes: int [n].

    Returns:
        The hashes, uint64 [runs]; where each run begins, int [runs], in the notes sorted by piece, onset and note; and
        the piece of each sorted note.
    """
    order = np.lexsort((notes, onsets, pieces))
    pieces, onsets, notes = pieces[order], onsets[order], notes[order]
    n_runs = max(0, len(notes) - RUN + 1)
    gaps = np.diff(onsets, prepend=0)
    steps = _mixed((gaps << 32) + notes)  # the note, and the time since the one before
    hashes = _mixed(notes[:n_runs])
    for place in range(1, RUN):
        hashes = hashes * np.uint64(0x9E3779B97F4A7C15) + steps[place : place + n_runs]
    starts = np.flatnonzero(pieces[:n_runs] == pieces[len(pieces) - n_runs :])
    return hashes[starts], starts, pieces


def _mixed(numbers: np.ndarray) -> np.ndarray:
    """Numbers far apart for numbers close together (the finalizer of SplitMix64)."""
    mixed = numbers.astype(np.uint64)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def _training_runs(train: str) -> Iterable[np.ndarray]:
    """The hashes of all runs in the training songs' chunks, some songs at a time."""
    with pq.ParquetFile(train) as file:
        batches = file.iter_batches(BATCH, columns=["chunks"])
        for batch in tqdm(batches, "training songs", total=-(-file.metadata.num_rows // BATCH), mininterval=5):
            chunks: pa.ListArray = batch.column("chunks").flatten()
            ends = chunks.offsets.to_numpy() - chunks.offsets[0].as_py()
            tokens = chunks.flatten().to_numpy().astype(np.int64)
            # A chunk is the start token and events of three tokens.
            counts = (np.diff(ends) - 1) // TOKENS_PER_EVENT
            numbers = np.repeat(np.arange(len(counts)), counts)
            firsts = np.cumsum(counts) - counts
            places = ends[numbers] + 1 + TOKENS_PER_EVENT * (np.arange(len(numbers)) - firsts[numbers])
            yield run_hashes(numbers, tokens[places], tokens[places + 2] - NOTE_OFFSET)[0]
