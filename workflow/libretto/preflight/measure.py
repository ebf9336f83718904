"""What a rule's work takes at its real size, by doing a little of it."""

import logging
import time
from collections.abc import Callable

import numpy as np
import torch

from libretto.audio.embeddings.base import Embedder
from libretto.errors import InputError
from libretto.generation.sampling import Generator, make_draw
from libretto.models.device import peak_memory

PEAK = {"A100": 312e12, "H100": 989e12, "H200": 989e12}  # operations per second: dense bf16, of the SXM data sheets
EMBEDDED_SECONDS = 60

logger = logging.getLogger("libretto")


def describe_device() -> dict:
    """The name of the GPU, its memory in GB and its peak in operations per second; the CPU's where there is no GPU."""
    if not torch.cuda.is_available():
        return {"device": "CPU", "memory_gb": None, "peak": None}
    properties = torch.cuda.get_device_properties(0)
    peak = next((peak for kind, peak in PEAK.items() if kind in properties.name), None)
    return {"device": properties.name, "memory_gb": properties.total_memory / 1e9, "peak": peak}


def measure_generation(generator: Generator, settings: dict, temperature: float) -> dict:
    """One batch of samples, from prompts of a typical length.

    Args:
        generator: of a model with random weights.
        settings: the config's section `sampling`.
        temperature: of the system.

    Returns:
        seconds of the second of two batches (the first one also captures graphs), and peak memory in GB.

    Raises:
        torch.OutOfMemoryError: the GPU's memory is too small.
    """
    n, seconds = settings["batch_size"], 0.0
    for number in range(2 if torch.cuda.is_available() else 1):
        draw = make_draw(settings, temperature, range(number * n, (number + 1) * n))
        start = time.perf_counter()
        generator([""] * n, settings["max_new_tokens"], draw).tolist()
        seconds = time.perf_counter() - start
    return {"seconds": seconds, "memory_gb": peak_memory() / 1e9}


def measure_embedding(embedder: Embedder) -> dict:
    """A minute of noise, embedded; its seconds, and peak memory in GB."""
    sample_rate = embedder.sample_rate or 22_050
    audio = np.random.default_rng(0).normal(0, 0.1, EMBEDDED_SECONDS * sample_rate).astype(np.float32)
    start = time.perf_counter()
    embedder.embed(audio, sample_rate)
    return {"seconds": time.perf_counter() - start, "memory_gb": peak_memory() / 1e9}


def or_problem(measure: Callable[[], dict]) -> dict:
    """What `measure` returns; or, if memory is too small or an input is wrong, `problem` in words."""
    try:
        return measure()
    except torch.OutOfMemoryError as error:
        problem = f"the GPU's memory is too small ({str(error).split('.')[0]}); lower its batch, or use a larger card"
    except InputError as error:
        problem = str(error)
    logger.warning("%s", problem)
    return {"problem": problem}
