"""Where models run."""

import logging
import os
import shutil
import sysconfig
from functools import cache
from pathlib import Path

import torch

logger = logging.getLogger("libretto")


def select_device() -> torch.device:
    """The GPU, or else the CPU with one thread: sums, and thus results, must not depend on the number of cores.

    Of several GPUs it is the one that `torch.cuda.set_device` chose, by default the first.
    """
    if torch.cuda.is_available():
        logger.info("running on GPU %d, %s", torch.cuda.current_device(), torch.cuda.get_device_name())
        return torch.device("cuda")
    torch.set_num_threads(1)
    logger.info("running on the CPU, in one thread")
    return torch.device("cpu")


def inference_dtype(device: torch.device) -> torch.dtype:
    """bf16 on a GPU, where the key-value cache of a batch would not fit in fp32; fp32 on the CPU."""
    return torch.bfloat16 if device.type == "cuda" else torch.float32


@cache
def can_compile() -> bool:
    """Whether Triton, which `torch.compile` uses on a GPU, can compile C; logs a warning if not."""
    compiler = "CC" in os.environ or any(map(shutil.which, ("gcc", "clang")))
    header = Path(sysconfig.get_paths()["include"], "Python.h").exists()
    if not (compiler and header):
        missing = "Python's headers (Python.h)" if compiler else "a C compiler (gcc or clang)"
        logger.warning("%s cannot be found: generation is not compiled and thus slower", missing)
    return compiler and header
