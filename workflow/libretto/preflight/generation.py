"""What a generation takes at its real size, by doing a batch of it."""

import time

import torch

from libretto.generation.sampling import Generator, make_draw
from libretto.models.device import peak_memory


def measure_generation(generator: Generator, settings: dict, temperature: float) -> dict:
    """One batch of samples, from prompts of a typical length.

    Args:
        generator: of a model with random weights.
        settings: the config's section `sampling`.
        temperature: of the system.

    Returns:
        batch_size, seconds of the second of two batches (the first one also captures graphs), peak memory in GB.

    Raises:
        torch.OutOfMemoryError: the GPU's memory is too small.
    """
    n_tokens, seconds = settings["max_new_tokens"], 0.0
    n = settings["batch_size"] or generator.batch_size(settings["n"] * settings["best_of"], n_tokens)
    for number in range(2 if torch.cuda.is_available() else 1):
        draw = make_draw(settings, temperature, range(number * n, (number + 1) * n))
        start = time.perf_counter()
        generator([""] * n, n_tokens, draw).tolist()
        seconds = time.perf_counter() - start
    return {"batch_size": n, "seconds": seconds, "memory_gb": peak_memory() / 1e9}
