"""The device that a preflight measures, and what it reports where a measurement fails."""

import logging
import socket
from collections.abc import Callable

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from libretto.disk import disk_error
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


def count_operations(run: Callable[[], object]) -> int:
    """Floating-point operations of the matrix products in `run`; attention as if it were not causal."""
    # Attention as plain products: torch's counter fails where heads share keys, and leaves out the CPU's kernel.
    # Not compiled: fused products would be left out.
    attention, stance = sdpa_kernel(SDPBackend.MATH), torch.compiler.set_stance("force_eager")
    with attention, stance, FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def check_gpu(is_needed: bool) -> None:
    """Raise an InputError if a GPU is needed and torch sees none."""
    if is_needed and not torch.cuda.is_available():
        raise InputError(
            f"torch sees no GPU on {socket.gethostname()}: check the job's GPU request and the driver, or set "
            "preflight.quick to see without one that each step works"
        )


def or_problem(measure: Callable[[], dict], advice: str | None) -> dict:
    """What `measure` returns; or `problem` in words, if memory or disk is too small, or an input is wrong.

    Args:
        measure: the measurement.
        advice: what to do if the GPU's memory is too small; None if that is to be expected, and no problem: then
            nothing is returned.
    """
    try:
        return measure()
    except torch.OutOfMemoryError as error:
        if advice is None:
            logger.info("not measured: it needs more memory than this GPU has")
            return {}
        problem = f"the GPU's memory is too small ({str(error).split('.')[0]}): {advice}"
    except InputError as error:
        problem = str(error)
    except Exception as error:
        full = disk_error(error, "results")
        if full is None:
            raise
        problem = full
    logger.warning("%s", problem)
    return {"problem": problem}
