"""Where models run."""

import logging
import resource

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


def peak_memory() -> int:
    """Peak memory in bytes: the GPU's, or the process's if there is no GPU."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
