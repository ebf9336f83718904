"""Peak memory of training a model of the real size, without a GPU: torch follows every tensor's size, but makes none.

    python -m tests.bench.memory {amt,llama-1b,llama-3b} [--micro-batch-size 2] [--gradient-checkpointing] [--gpus 4]

A micro-batch goes forward and backward while the gradients of those before it and the optimizer's states are there, as
in the middle of a step. It is the arithmetic behind config.yaml's micro-batches. What it leaves out: the CUDA context
and its libraries' workspaces (about 1 GiB), fragmentation, and that a GPU's autocast keeps more operations in fp32.
"""

import argparse

import torch
from torch import distributed
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed._tools.fsdp2_mem_tracker import FSDPMemTracker
from torch.distributed._tools.mem_tracker import MemTracker
from torch.distributed.device_mesh import init_device_mesh
from torch.testing._internal.distributed.fake_pg import FakeStore

from libretto.models import loss
from libretto.preflight.models import PROMPT_TOKENS, RandomSongs
from libretto.training.sharding import shard
from tests.shapes import REAL, make_variant

loss.CHUNK["cpu"] = loss.CHUNK["cuda"]  # the tensors are a CPU's, but their sizes must be those on a GPU


def peak(name: str, micro_batch_size: int, gradient_checkpointing: bool, n_gpus: int) -> dict[str, int]:
    """Bytes at the peak on one of the GPUs that the model is spread over, by what holds them."""
    distributed.init_process_group("fake", store=FakeStore(), rank=0, world_size=n_gpus)
    mesh = init_device_mesh("cpu", (n_gpus,))
    with FakeTensorMode(allow_non_fake_inputs=True):
        variant = make_variant(name, None, torch.device("cpu"))
        model = variant.model.train()
        for module in model.modules():
            if hasattr(module, "attn_dropout"):
                module.attn_dropout.p = 0.0  # a GPU's flash kernel drops without keeping the matrix, a CPU's does not
        if gradient_checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        if n_gpus > 1:
            shard(model, mesh)
        optimizer = torch.optim.AdamW(model.parameters(), fused=True)
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
        songs = RandomSongs(micro_batch_size)
        batch = variant.encode(variant.collate([songs[index] for index in range(micro_batch_size)]))
        tracker = FSDPMemTracker(model, optimizer) if n_gpus > 1 else MemTracker()
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
    parser.add_argument("--gpus", type=int, default=1, help="that the model's states are spread over (shard: true)")
    options = parser.parse_args()
    sizes = peak(options.name, options.micro_batch_size, options.gradient_checkpointing, options.gpus)
    checkpointing = "with" if options.gradient_checkpointing else "without"
    length = PROMPT_TOKENS + 1_024
    print(
        f"{options.name}, micro-batch of {options.micro_batch_size} x {length} tokens, {checkpointing} checkpointing, "
        f"on each of {options.gpus} GPUs"
    )
    for kind, size in sizes.items():
        if size:
            print(f"{kind:12} {size / 2**30:8.1f} GiB")


if __name__ == "__main__":
    main()
