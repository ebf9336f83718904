"""The device that a preflight measures, and what it reports where a measurement fails."""

import logging
from collections.abc import Callable

import torch

from libretto.errors import InputError

PEAK = {"A100": 312e12, "H100": 989e12, "H200": 989e12}  # operations per second: dense bf16, of the SXM data sheets

logger = logging.getLogger("libretto")


def describe_device() -> dict:
    """The name of the GPU, its memory in GB and its peak in operations per second; the CPU's where there is no GPU."""
    if not torch.cuda.is_available():
        return {"device": "CPU", "device_memory_gb": None, "peak": None}
    properties = torch.cuda.get_device_properties(0)
    peak = next((peak for kind, peak in PEAK.items() if kind in properties.name), None)
    return {"device": properties.name, "device_memory_gb": properties.total_memory / 1e9, "peak": peak}


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
