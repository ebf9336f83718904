"""Seconds for a batch of 1,024 tokens: our decoding, transformers' `generate`, and no cache; the same sampling in all.

    python -m tests.bench.generate [--batch 8] [--tokens 1024] [--models llama-1b-layer ...]

The weights are random. `*-layer` has the width, heads and vocabulary of the real model, and one of its layers; the
others are the demo's stand-ins. Without a cache, a step is timed at a few lengths, and the rest interpolated.
"""

import argparse
import time

import numpy as np
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, LogitsProcessor

from libretto.generation.decoding import Decoder, Prompt
from libretto.generation.nucleus import Nucleus, Streams
from libretto.tokens import vocab

PROMPT = 96  # tokens before the music, for Llama
# Width, heads, key-value heads, width of the MLP, layers, text vocabulary
LLAMA = {
    "llama-1b-standin": (64, 4, 2, 172, 2, 2_000),
    "llama-1b-layer": (2048, 32, 8, 8192, 1, 128_256),
    "llama-3b-layer": (3072, 24, 8, 8192, 1, 128_256),
}
AMT = {"amt-standin": (64, 4, 2), "amt-layer": (1280, 20, 1)}  # width, heads, layers


class Draws(LogitsProcessor):
    """Our sampling within `generate`: 0 for the token drawn, -inf for the others."""

    def __init__(self, nucleus: Nucleus, first_music_row: int):
        self.nucleus, self.first, self.step = nucleus, first_music_row, 0

    def __call__(self, input_ids, scores):
        tokens = self.nucleus(scores[:, self.first :], self.step)
        self.step += 1
        return torch.full_like(scores, -torch.inf).scatter_(1, self.first + tokens.unsqueeze(1), 0.0)


def nucleus(batch: int, tokens: int) -> Nucleus:
    return Nucleus(1.0, 0.98, 0, Streams(range(batch), tokens))


def build(name: str) -> tuple[torch.nn.Module, int]:
    """The model in fp32 and its first music row."""
    torch.manual_seed(0)
    if name in AMT:
        width, heads, layers = AMT[name]
        config = GPT2Config(
            vocab_size=vocab.EMBEDDING_ROWS, n_positions=1024 + 1, n_embd=width, n_head=heads, n_layer=layers,
            activation_function="gelu_pytorch_tanh", bos_token_id=None, eos_token_id=None,
        )  # fmt: skip
        return GPT2LMHeadModel(config).eval(), 0
    width, heads, kv_heads, mlp, layers, text = LLAMA[name]
    config = LlamaConfig(
        vocab_size=text + vocab.EMBEDDING_ROWS, hidden_size=width, intermediate_size=mlp, num_hidden_layers=layers,
        num_attention_heads=heads, num_key_value_heads=kv_heads, tie_word_embeddings=False,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval(), text


@torch.no_grad()
def ours(model, first: int, ids: torch.Tensor, tokens: int) -> torch.Tensor:
    music_head = torch.nn.Linear(0, 0, bias=False)
    music_head.weight = torch.nn.Parameter(model.lm_head.weight[first:], requires_grad=False)
    table = model.get_input_embeddings()
    decoder = Decoder(model.base_model, lambda music: table(first + music), music_head, ids.shape[1])
    mask = torch.ones_like(ids, dtype=torch.bool)
    prompt = Prompt(table(ids), mask, mask.cumsum(1) - 1)
    return decoder(prompt, tokens, nucleus(len(ids), tokens), vocab.SEPARATOR)


def of_transformers(model, first: int, ids: torch.Tensor, tokens: int) -> torch.Tensor:
    model.set_attn_implementation("sdpa")
    rows = model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens, do_sample=False, use_cache=True,
        logits_processor=[Draws(nucleus(len(ids), tokens), first)], cache_implementation="static",
        disable_compile=True, eos_token_id=first + vocab.SEPARATOR, pad_token_id=first + vocab.SEPARATOR,
    )  # fmt: skip
    return rows[:, ids.shape[1] :] - first


@torch.no_grad()
def seconds_without_cache(model, first: int, ids: torch.Tensor, tokens: int) -> float:
    model.set_attn_implementation("sdpa")
    draw = nucleus(len(ids), tokens)
    lengths = np.linspace(ids.shape[1], ids.shape[1] + tokens - 1, 5).astype(int)
    seconds = []
    for length in lengths:
        row = ids.repeat(1, -(-length // ids.shape[1]))[:, :length]
        start = time.perf_counter()
        draw(model(row, use_cache=False, logits_to_keep=1).logits[:, -1, first:], 0)
        seconds.append(time.perf_counter() - start)
    steps = np.arange(ids.shape[1], ids.shape[1] + tokens)
    return float(np.interp(steps, lengths, seconds).sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=1024)
    parser.add_argument("--models", nargs="+", choices=[*LLAMA, *AMT], default=[*LLAMA, *AMT])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print("model               ours (s)  generate (s)  no cache (s)  generate/ours  no cache/ours  equal tokens")
    for name in arguments.models:
        model, first = build(name)
        n_prompt = 1 if name in AMT else PROMPT
        ids = torch.randint(first, (arguments.batch, n_prompt)) if first else torch.full((arguments.batch, 1), 55_026)
        if first:
            ids[:, -1] = first + vocab.AUTOREGRESS
        found, seconds = [], []
        for run in (ours, of_transformers):
            start = time.perf_counter()
            found.append(run(model, first, ids, arguments.tokens))
            seconds.append(time.perf_counter() - start)
        seconds.append(seconds_without_cache(model, first, ids, arguments.tokens))
        n = min(rows.shape[1] for rows in found)
        equal = (found[0][:, :n] == found[1][:, :n]).float().mean()
        mine, theirs, without = seconds
        print(
            f"{name:18} {mine:9.1f} {theirs:13.1f} {without:13.1f} {theirs / mine:14.1f} {without / mine:14.1f} "
            f"{equal:13.1%}",
            flush=True,
        )


if __name__ == "__main__":
    main()
