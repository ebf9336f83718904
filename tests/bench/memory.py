"""Peak memory of training a model of the real size, without a GPU: torch follows every tensor's size, but makes none.

    python -m tests.bench.memory {amt,llama-1b,llama-3b} [--micro-batch-size 2] [--gradient-checkpointing]

A micro-batch goes forward and backward while the gradients of those before it and the optimizer's states are there, as
in the middle of a step. It is the arithmetic behind config.yaml's micro-batches. What it leaves out: the CUDA context
and its libraries' workspaces (about 1 GiB), fragmentation, and that a GPU's autocast keeps more operations in fp32.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "workflow"))

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed._tools.mem_tracker import MemTracker

from libretto.models import loss
from libretto.preflight.models import PROMPT_TOKENS, RandomSongs
from tests.shapes import REAL, make_variant

loss.CHUNK["cpu"] = loss.CHUNK["cuda"]  # the tensors are a CPU's, but their sizes must be those on a GPU


def peak(name: str, micro_batch_size: int, gradient_checkpointing: bool) -> dict[str, int]:
    """Bytes at the peak, by what holds them."""
    with FakeTensorMode(allow_non_fake_inputs=True):
        variant = make_variant(name, None, torch.device("cpu"))
        model = variant.model.train()
        for module in model.modules():
            if hasattr(module, "attn_dropout"):
                module.attn_dropout.p = 0.0  # a GPU's flash kernel drops without keeping the matrix, a CPU's does not
        if gradient_checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        optimizer = torch.optim.AdamW(model.parameters(), fused=True)
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
        songs = RandomSongs(micro_batch_size)
        batch = variant.encode(variant.collate([songs[index] for index in range(micro_batch_size)]))
        tracker = MemTracker()
        tracker.track_external(model, optimizer, *(parameter.grad for parameter in model.parameters()))
        with tracker:
            with torch.autocast("cpu", torch.bfloat16):
                result = model(**batch, num_items_in_batch=1_000).loss
            result.backward()
        (snapshot,) = tracker.get_tracker_snapshot("peak").values()
    return {str(getattr(kind, "name", kind)).lower(): size for kind, size in snapshot.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=REAL)
    parser.add_argument("--micro-batch-size", type=int, default=2)
    parser.add_argument("--gradient-checkpointing", action="store_true")
    options = parser.parse_args()
    sizes = peak(options.name, options.micro_batch_size, options.gradient_checkpointing)
    checkpointing = "with" if options.gradient_checkpointing else "without"
    length = PROMPT_TOKENS + 1_024
    print(f"{options.name}, micro-batch of {options.micro_batch_size} x {length} tokens, {checkpointing} checkpointing")
    for kind, size in sizes.items():
        if size:
            print(f"{kind:12} {size / 2**30:8.1f} GiB")


if __name__ == "__main__":
    main()
