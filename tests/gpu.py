"""For a machine with a GPU, torch and transformers, and nothing else: are its results right, and how fast is it?

    python -m tests.gpu checks                    tiny models: the GPU against the CPU
    python -m tests.gpu train llama-1b            20 steps of training at the paper's batch
    python -m tests.gpu generate llama-1b         1,000 samples
    python -m tests.gpu table                     what was measured, for docs/performance.md

`make gpu` runs all of them, each in under ten minutes. Weights are random; results go to results/gpu/ as JSON.
"""

import argparse
import json
import platform
import sys
import time
from datetime import date
from pathlib import Path

import numpy as np
import torch
import transformers
from transformers import GPT2Config, LlamaConfig

from libretto.generation.decoding import Draw
from libretto.generation.nucleus import Streams
from libretto.generation.sampling import conditioned, make_draw, unconditional
from libretto.models.device import inference_dtype, peak_memory
from libretto.models.variants import Variant
from libretto.preflight.device import count_operations, describe_device
from libretto.preflight.models import PROMPT_TOKENS, TEXT_IDS, RandomPrompter, RandomSongs, random_amt, random_variant
from libretto.tokens import vocab
from libretto.training.compilation import compile_parts
from tests.shapes import REAL, make_variant

OUT = Path("results/gpu")
MODELS = ("amt", "llama-1b", "llama-3b")
BATCH = {"amt": 16, "llama-1b": 64, "llama-3b": 64}  # paper, Table 2
MICRO_BATCH = {"amt": 16, "llama-1b": 16, "llama-3b": 2}  # for a card of 80 GB
LARGE_MICRO_BATCH = MICRO_BATCH | {"llama-3b": 8}  # for one of more than 120 GB
SAMPLING = {"top_p": 0.98, "top_k": 0, "constraint": "none", "instruments": [], "max_new_tokens": 1_024}

TINY_AMT = GPT2Config(
    vocab_size=vocab.EMBEDDING_ROWS, n_positions=256, n_embd=64, n_layer=2, n_head=4, initializer_range=0.2,
    bos_token_id=None, eos_token_id=None,
)  # fmt: skip
TINY_LLAMA = LlamaConfig(
    vocab_size=2 * TEXT_IDS, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, tie_word_embeddings=True, initializer_range=0.2,
)  # fmt: skip
AMT, LLAMA = {"family": "amt", "text_states": "weighted"}, {"family": "llama"}


class Prompts(RandomPrompter):
    """Prompts as long as their captions, so that a batch has padding."""

    def __call__(self, caption):
        return np.random.default_rng(0).integers(1, TEXT_IDS, 1 + len(caption or "")).tolist()


CAPTIONS = ["x" * n for n in (3, 95, 17, 40)]
N_TOKENS = 60  # with the longest prompt, more than a bucket of the cache


def tiny_generators(device: torch.device, dtype: torch.dtype) -> dict:
    """A generator of each kind, of the same random weights on any device."""
    found = {"amt-unconditional": unconditional(random_amt(TINY_AMT, torch.device("cpu")).to(device, dtype))}
    for name, settings, base in (("amt", AMT, TINY_AMT), ("llama", LLAMA, TINY_LLAMA)):
        variant = random_variant(settings, base, TINY_LLAMA, 100, torch.device("cpu"))
        variant.prompter = Prompts(100)
        variant.model.to(device, dtype)
        if variant.encoder:
            variant.encoder.model.to(device, dtype)
        found[name] = conditioned(variant)
    return found


def greedy(logits: torch.Tensor, step: int) -> torch.Tensor:
    return logits.argmax(-1)


def first_logits(generator) -> torch.Tensor:
    kept = []

    def draw(logits, step):
        kept.append(logits.float().cpu())
        return torch.full_like(logits[:, 0], 7 * step, dtype=torch.long)  # the same ones, however logits round

    generator(CAPTIONS, 3, draw)
    return torch.stack(kept)


def compiled_error(settings: dict, base, device: torch.device) -> float:
    """The largest relative difference that compiling makes to a training step's loss and gradients, by their norms."""
    steps = []
    for is_compiled in (False, True):
        variant = random_variant(settings, base, TINY_LLAMA, 100, device)
        for module in variant.model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0  # compiled or not, it draws other numbers
        if is_compiled:
            compile_parts(variant.model)
        losses = [training_pass(variant, RandomSongs(2, 64, n), (0, 1), 2 * 64, device) for n in (7, 20, 11)]
        gradients = [parameter.grad for parameter in variant.model.parameters() if parameter.grad is not None]
        steps.append([torch.stack(losses), *gradients])
    plain, compiled = steps
    return max(((b - a).norm() / a.norm()).item() for a, b in zip(plain, compiled, strict=True) if a.norm() > 0)


def training_pass(variant: Variant, songs: RandomSongs, indices, targets: int, device: torch.device) -> torch.Tensor:
    """The loss of a micro-batch, after its backward pass."""
    items = variant.collate([songs[index] for index in indices])
    items = variant.encode({key: tensor.to(device) for key, tensor in items.items()})
    with torch.autocast(device.type, torch.bfloat16):
        loss = variant.model(**items, num_items_in_batch=targets).loss
    loss.backward()
    return loss.detach()


def draw_of(constraint: str, n_tokens: int) -> Draw:
    settings = SAMPLING | {"constraint": constraint, "max_new_tokens": n_tokens}
    return make_draw(settings, 1.0, range(len(CAPTIONS)))


def is_valid(piece: list[int]) -> bool:
    """Whether a piece consists of onsets that do not run backwards, durations and notes, up to its separator.

    With 15 instruments and drums at most.
    """
    piece = piece[: piece.index(vocab.SEPARATOR)] if vocab.SEPARATOR in piece else piece
    onsets, durations, notes = (piece[place::3] for place in range(3))
    instruments = {(note - vocab.NOTE_OFFSET) // vocab.PITCHES for note in notes}
    return (
        len(instruments - {vocab.DRUMS}) <= 15
        and onsets == sorted(onsets)
        and all(vocab.TIME_OFFSET <= token < vocab.DURATION_OFFSET for token in onsets)
        and all(vocab.DURATION_OFFSET <= token < vocab.NOTE_OFFSET for token in durations)
        and all(vocab.NOTE_OFFSET <= token < vocab.REST for token in notes)
    )


def checks(device: torch.device) -> dict[str, bool]:
    """What must hold on a GPU; on a CPU it holds trivially."""
    found = {}
    cpu = tiny_generators(torch.device("cpu"), torch.float32)
    exact, rounded = (tiny_generators(device, dtype) for dtype in (torch.float32, torch.bfloat16))
    for name in cpu:
        rows = [generator(CAPTIONS, N_TOKENS, greedy).cpu() for generator in (cpu[name], exact[name])]
        found[f"{name}: greedy tokens in fp32 equal the CPU's"] = torch.equal(*rows)
        logits = first_logits(rounded[name]), first_logits(cpu[name])
        error = ((logits[0] - logits[1]).abs().max() / logits[1].abs().max()).item()
        found[f"{name}: logits in bf16 are within 5 % of fp32's ({error:.1%})"] = error < 0.05
        found[f"{name}: no logit of a padded batch is NaN"] = all(bool(rows.isfinite().all()) for rows in logits)
        pieces = rounded[name](CAPTIONS, N_TOKENS, draw_of("grammar", N_TOKENS)).tolist()
        found[f"{name}: every event under the grammar is valid"] = len(pieces[0]) > 3 and all(map(is_valid, pieces))
        twice = [rounded[name](CAPTIONS, N_TOKENS, draw_of("none", N_TOKENS)).cpu() for _ in range(2)]
        found[f"{name}: two runs give the same tokens"] = torch.equal(*twice)
    families = (("amt", AMT, TINY_AMT), ("llama", LLAMA, TINY_LLAMA))
    for name, settings, base in families if device.type == "cuda" else ():  # nothing is compiled on a CPU
        error = compiled_error(settings, base, device)
        found[f"{name}: loss and gradients of the compiled model are within 5 % of the plain one's ({error:.1%})"] = (
            error < 0.05
        )
    rows = torch.tensor([0, 2])
    for attempt in (0, 3):
        numbers = [Streams(range(4), 9)(5, attempt, rows.to(place)).cpu() for place in (device, "cpu")]
        found[f"random numbers of attempt {attempt} equal the CPU's"] = torch.equal(*numbers)
    return found


def variant_of(name: str, tiny: bool, device: torch.device):
    if not tiny:
        return make_variant(name, None, device)
    settings = REAL[name][0]
    return random_variant(settings, TINY_AMT if name == "amt" else TINY_LLAMA, TINY_LLAMA, 256, device)


def synchronize():
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def train(name: str, tiny: bool, steps: int, device: torch.device) -> dict:
    """Steps at the paper's batch; the second half is measured."""
    batch, chunk = (4, 64) if tiny else (BATCH[name], 1_024)
    is_large = (describe_device()["device_memory_gb"] or 0) > 120
    micro = 2 if tiny else (LARGE_MICRO_BATCH if is_large else MICRO_BATCH)[name]
    variant = variant_of(name, tiny, device)
    model = variant.model.train()
    songs = RandomSongs(batch, chunk)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)
    targets = chunk - 1 + (0 if variant.encoder else PROMPT_TOKENS)

    operations = count_operations(lambda: training_pass(variant, songs, [0], batch * targets, device))
    if device.type == "cuda":
        compile_parts(model)
    start = 0.0
    for step in range(steps):
        if step == steps // 2:
            synchronize()
            start = time.perf_counter()
        for first in range(0, batch, micro):
            training_pass(variant, songs, range(first, first + micro), batch * targets, device)
        optimizer.step()
        optimizer.zero_grad()
    synchronize()
    sequences = (steps - steps // 2) * batch / (time.perf_counter() - start)
    peak = describe_device()["peak"]
    return {
        "steps": steps,
        "micro_batch_size": micro,
        "tokens_per_s": targets * sequences,
        "share_of_peak": operations * sequences / peak if peak else None,
        "memory_gb": peak_memory() / 1e9,
    }


def generate(name: str, tiny: bool, samples: int, batch: int | None, device: torch.device) -> dict:
    """Samples in batches, after the model is there."""
    variant = variant_of(name, tiny, device)
    variant.model.to(inference_dtype(device))
    generator = conditioned(variant)
    settings = SAMPLING | ({"max_new_tokens": 48} if tiny else {})
    batch = batch or generator.batch_size(samples, settings["max_new_tokens"])
    synchronize()
    start = time.perf_counter()
    for first in range(0, samples, batch):
        keys = range(first, min(first + batch, samples))
        generator([""] * len(keys), settings["max_new_tokens"], make_draw(settings, 1.0, keys)).tolist()
    seconds = time.perf_counter() - start
    return {"samples": samples, "batch_size": batch, "seconds": seconds, "memory_gb": peak_memory() / 1e9}


def table() -> str:
    """What results/gpu holds, in Markdown."""
    found = {path.stem: json.loads(path.read_text()) for path in sorted(OUT.glob("*.json"))}
    lines = [
        "| model | card | date | training: tokens/s | share of peak | memory | 1,000 samples | memory |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in MODELS:
        trained, generated = found.get(f"train-{name}"), found.get(f"generate-{name}")
        if trained and generated:
            share = f"{trained['share_of_peak']:.0%}" if trained["share_of_peak"] else "unknown"
            lines.append(
                f"| {name} | {trained['device']} | {trained['date']} | {trained['tokens_per_s']:,.0f} | {share} "
                f"| {trained['memory_gb']:.0f} GB | {generated['seconds'] * 1000 / generated['samples']:.0f} s "
                f"| {generated['memory_gb']:.0f} GB |"
            )
    if found:
        versions = next(iter(found.values()))
        lines += [
            "",
            f"torch {versions['torch']}, transformers {versions['transformers']}, Python {versions['python']}",
        ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=("checks", "train", "generate", "table"))
    parser.add_argument("model", nargs="?", choices=MODELS)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--samples", type=int, default=1_000)
    parser.add_argument("--batch-size", type=int, help="of samples; without it, what fits the memory")
    parser.add_argument("--tiny", action="store_true", help="tiny models, to try this without a GPU")
    options = parser.parse_args()
    if options.task == "table":
        print(table())
        return
    if options.task != "checks" and options.model is None:
        parser.error("name a model")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu" and options.task != "checks" and not options.tiny:
        parser.error("there is no GPU that torch can use: add --tiny to try this on the CPU")
    if options.task == "checks":
        result = checks(device)
        print("\n".join(f"{'ok  ' if holds else 'FAIL'} {what}" for what, holds in result.items()))
    elif options.task == "train":
        result = train(options.model, options.tiny, options.steps, device)
    else:
        result = generate(options.model, options.tiny, options.samples, options.batch_size, device)
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    result = {**describe_device(), "date": str(date.today()), "python": platform.python_version(), **versions, **result}
    OUT.mkdir(parents=True, exist_ok=True)
    name = "-".join(filter(None, (options.task, options.model)))
    (OUT / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")
    if options.task != "checks":
        print(json.dumps(result, indent=1))
    elif not all(holds for what, holds in result.items() if isinstance(holds, bool)):
        sys.exit(1)


if __name__ == "__main__":
    main()
