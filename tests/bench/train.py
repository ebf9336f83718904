"""Training speed of a model of the real size with random weights: tokens per second and share of the device's peak.

    python -m tests.bench.train {amt,llama-1b,llama-3b} [--micro-batch-size 8] [--gradient-checkpointing] [--layers 2]

Steps go through the same Trainer as the rule's. The floating-point operations are counted by torch (those of a step
without checkpointing; attention as if it were not causal). The peak is that of the device's data sheet, where it is
known; and beside it, in the same run, the throughput of one large matrix product. `--layers` shortens the model, so
that a machine without a GPU can run it.
"""

import argparse
import tempfile
import time
from pathlib import Path

import torch

from libretto.models.device import peak_memory, select_device
from libretto.preflight.device import describe_device
from libretto.preflight.models import PROMPT_TOKENS, RandomSongs
from libretto.preflight.training import operations
from libretto.training.trainer import MusicTrainer
from libretto.training.variant import training_arguments
from tests.shapes import REAL, make_variant


def matmul_throughput(device: torch.device, dtype: torch.dtype) -> float:
    """Operations per second of a large matrix product, the best of several."""
    n = 8_192 if device.type == "cuda" else 2_048
    a, b = (torch.randn(n, n, device=device, dtype=dtype) for _ in range(2))
    best = float("inf")
    for _ in range(8):
        start = time.perf_counter()
        a @ b
        if device.type == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return 2 * n**3 / best


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=REAL)
    parser.add_argument("--micro-batch-size", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--steps", type=int, default=10, help="training steps; the second half is measured")
    parser.add_argument("--layers", type=int, help="number of layers; default: all")
    parser.add_argument("--precision", choices=("bf16", "fp32"), default="bf16")
    parser.add_argument("--gradient-checkpointing", action="store_true")
    parser.add_argument("--no-compile", action="store_true")
    options = parser.parse_args()

    device = select_device()
    variant = make_variant(options.name, options.layers, device)
    settings = {
        "batch_size": options.batch_size,
        "micro_batch_size": options.micro_batch_size,
        "learning_rate": 1e-5,
        "max_steps": options.steps,
        "warmup_steps": 0,
        "eval_steps": options.steps,
        "precision": options.precision,
        "gradient_checkpointing": options.gradient_checkpointing,
        "compile": not options.no_compile,
    }
    songs = RandomSongs(options.steps * options.batch_size)
    with tempfile.TemporaryDirectory() as folder:
        arguments = training_arguments(settings, 0, Path(folder), 1)
        arguments.save_strategy = arguments.eval_strategy = "no"
        arguments.report_to = []
        arguments.logging_steps = max(1, options.steps // 2)
        trainer = MusicTrainer(variant, settings, args=arguments, train_dataset=songs)
        per_sequence = operations(trainer)
        trainer.train()
    (*_, last) = (row for row in trainer.state.log_history if "tokens_per_s" in row)
    targets = 1_023 if options.name == "amt" else PROMPT_TOKENS + 1_023
    sequences = last["tokens_per_s"] / targets
    achieved = per_sequence * sequences
    dtype = torch.bfloat16 if options.precision == "bf16" else torch.float32
    product = matmul_throughput(device, dtype)
    card = describe_device()
    peak = card["peak"]

    n = sum(parameter.numel() for parameter in variant.model.parameters())
    print(
        f"{options.name}: {n / 1e6:.1f} M parameters, batch {options.batch_size} by {options.micro_batch_size}, {dtype}"
    )
    print(f"device               {card['device']}")
    print(f"speed                {last['tokens_per_s']:12,.0f} tokens/s ({sequences:.2f} sequences/s)")
    print(f"operations           {per_sequence / 1e12:12.2f} TFLOP a sequence, {achieved / 1e12:.2f} TFLOP/s")
    print(f"share of a product   {achieved / product:12.1%} of {product / 1e12:.2f} TFLOP/s, measured in this run")
    if peak:
        print(f"share of the peak    {achieved / peak:12.1%} of {peak / 1e12:.0f} TFLOP/s, by the data sheet")
    print(f"memory               {peak_memory() / 2**30:12.1f} GiB at most")


if __name__ == "__main__":
    main()
