"""Training speed of a model of the real size with random weights: tokens per second and share of the device's peak.

    python -m tests.bench.train {amt,llama-1b,llama-3b} [--micro-batch-size 8] [--gradient-checkpointing] [--layers 2]

Steps go through the same Trainer as the rule's. The floating-point operations are counted by torch (those of a step
without checkpointing; attention as if it were not causal). The peak is that of the device's data sheet, where it is
known; and beside it, in the same run, the throughput of one large matrix product. `--layers` shortens the model, so
that a machine without a GPU can run it.
"""

import argparse
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "workflow"))

import numpy as np
import torch
from torch.utils.data import Dataset
from torch.utils.flop_counter import FlopCounterMode
from transformers import LlamaModel

from libretto.models.attention import CAUSAL
from libretto.models.batches import collate_amt, collate_llama
from libretto.models.device import inference_dtype, select_device
from libretto.models.encoder import TextEncoder
from libretto.models.variants import Variant
from libretto.tokens import vocab
from libretto.training.trainer import MusicTrainer, peak_memory, training_arguments
from tests.shapes import REAL, TEXT_ENCODER

PROMPT_TOKENS = 100  # a typical description with the instruction
PEAK = {"A100": 312e12, "H100": 989e12, "H200": 989e12}  # dense bf16, of the SXM data sheets


class RandomSongs(Dataset):
    """Prompts and full chunks of random tokens."""

    def __init__(self, n_items: int):
        self.n_items = n_items

    def __len__(self) -> int:
        return self.n_items

    def __getitem__(self, index: int):
        draws = np.random.default_rng(index)
        music = draws.integers(0, vocab.REST, 1_024).astype(np.uint16)
        music[0] = vocab.AUTOREGRESS
        return draws.integers(0, 2_000, PROMPT_TOKENS).tolist(), music


def make_variant(name: str, layers: int | None, device: torch.device) -> Variant:
    """The model of random weights, and for AMT its text encoder."""
    model_class, config, _ = REAL[name]
    if layers is not None:
        config.num_hidden_layers = layers  # GPT-2 maps it to its own n_layer
    torch.manual_seed(0)
    with device:
        model = model_class(config)
        encoder = None
        if name == "amt":
            encoder = TextEncoder.__new__(TextEncoder)  # its own constructor loads a checkpoint
            encoder.model = LlamaModel._from_config(TEXT_ENCODER, dtype=inference_dtype(device))
            encoder.model.eval().requires_grad_(False)
            encoder.model.set_attn_implementation(CAUSAL)
            encoder.all_layers = False
    model.set_attn_implementation(CAUSAL)
    collate = partial(collate_amt, pad_id=0)
    if name != "amt":
        collate = partial(collate_llama, pad_id=0, text_vocab_size=config.vocab_size)
    return Variant(model, None, collate, encoder)


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


def operations(trainer: MusicTrainer) -> int:
    """Of the forward and backward pass of one sequence."""
    batch = trainer._prepare_inputs(trainer.data_collator([trainer.train_dataset[0]]))
    trainer.model.train()
    with FlopCounterMode(display=False) as counter, trainer.compute_loss_context_manager():
        trainer.model(**batch).loss.backward()
    trainer.model.zero_grad()
    return counter.get_total_flops()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=REAL)
    parser.add_argument("--micro-batch-size", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--steps", type=int, default=10, help="training steps; the second half is measured")
    parser.add_argument("--layers", type=int, help="number of layers; default: all")
    parser.add_argument("--precision", choices=("bf16", "fp32"), default="bf16")
    parser.add_argument("--gradient-checkpointing", action="store_true")
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
    device_name = torch.cuda.get_device_name() if device.type == "cuda" else "CPU, one thread"
    peak = next((flops for kind, flops in PEAK.items() if kind in device_name), None)

    n = sum(parameter.numel() for parameter in variant.model.parameters())
    print(
        f"{options.name}: {n / 1e6:.1f} M parameters, batch {options.batch_size} by {options.micro_batch_size}, {dtype}"
    )
    print(f"device               {device_name}")
    print(f"speed                {last['tokens_per_s']:12,.0f} tokens/s ({sequences:.2f} sequences/s)")
    print(f"operations           {per_sequence / 1e12:12.2f} TFLOP a sequence, {achieved / 1e12:.2f} TFLOP/s")
    print(f"share of a product   {achieved / product:12.1%} of {product / 1e12:.2f} TFLOP/s, measured in this run")
    if peak:
        print(f"share of the peak    {achieved / peak:12.1%} of {peak / 1e12:.0f} TFLOP/s, by the data sheet")
    print(f"memory               {peak_memory() / 2**30:12.1f} GiB at most")


if __name__ == "__main__":
    main()
