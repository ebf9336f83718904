"""What embeddings take, by embedding a minute of audio, or a sample's notes."""

import tempfile
import time
from pathlib import Path

import numpy as np

from libretto.audio.embeddings.base import Embedder
from libretto.models.device import peak_memory
from libretto.tokens.midi_writer import events_to_midi
from libretto.tokens.vocab import PITCHES

SECONDS = 60
NOTES = 341  # of a sample of 1,024 tokens


def measure_embedding(embedder: Embedder) -> dict:
    """A minute of noise, embedded; its seconds, and peak memory in GB."""
    sample_rate = embedder.sample_rate or 22_050
    audio = np.random.default_rng(0).normal(0, 0.1, SECONDS * sample_rate).astype(np.float32)
    embedder.embed(audio[:sample_rate], sample_rate)  # the first call loads and compiles
    start = time.perf_counter()
    embedder.embed(audio, sample_rate)
    return {"seconds": time.perf_counter() - start, "memory_gb": peak_memory() / 1e9}


def measure_clamp2(weights: str | Path, sha256: str | None) -> dict:
    """A batch of samples of random notes, embedded; the seconds of each, and peak memory in GB.

    Args:
        weights, sha256: as of `Clamp2`, which says what is wrong with them.
    """
    # Transformers takes seconds to import: only those who need it should wait.
    from libretto.audio.embeddings.clamp2 import SEGMENTS_AT_ONCE, Clamp2

    clamp2 = Clamp2(weights, sha256)
    draws = np.random.default_rng(0)
    onsets, durations = np.sort(draws.integers(0, 6_000, NOTES)), draws.integers(10, 200, NOTES)
    events = np.stack([onsets, durations, draws.integers(0, 4 * PITCHES, NOTES)], axis=1)  # a band of four
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "notes.mid")
        events_to_midi(events)[0].save(path)
        clamp2.embed({0: path})  # the first call loads
        start = time.perf_counter()
        clamp2.embed(dict.fromkeys(range(SEGMENTS_AT_ONCE), path))
        seconds = (time.perf_counter() - start) / SEGMENTS_AT_ONCE
    return {"seconds": seconds, "memory_gb": peak_memory() / 1e9}
