"""What the embedding of audio takes, by doing a minute of it."""

import time

import numpy as np

from libretto.audio.embeddings.base import Embedder
from libretto.models.device import peak_memory

SECONDS = 60


def measure_embedding(embedder: Embedder) -> dict:
    """A minute of noise, embedded; its seconds, and peak memory in GB."""
    sample_rate = embedder.sample_rate or 22_050
    audio = np.random.default_rng(0).normal(0, 0.1, SECONDS * sample_rate).astype(np.float32)
    embedder.embed(audio[:sample_rate], sample_rate)  # the first call loads and compiles
    start = time.perf_counter()
    embedder.embed(audio, sample_rate)
    return {"seconds": time.perf_counter() - start, "memory_gb": peak_memory() / 1e9}
