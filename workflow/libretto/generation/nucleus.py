"""Nucleus sampling without sorting (Holtzman et al., 2020), from a random stream of each sample's own."""

from collections.abc import Sequence

import numpy as np
import torch

BLOCK = 128  # columns that a draw looks at one by one, after it has found their block


class Streams:
    """Uniform numbers in [0, 1) for each sample of a batch, which depend on its key, the step and the attempt alone.

    Args:
        keys: a seed in 0..2**63-1 for each sample.
        n_steps: the number of tokens to draw.
    """

    def __init__(self, keys: Sequence[int], n_steps: int):
        self.keys = list(keys)
        # First attempts, in one go; Philox's counter is 0, 1, ... for them.
        numbers = np.stack([np.random.Generator(np.random.Philox(key=key)).random(n_steps) for key in self.keys], 1)
        self.first = torch.from_numpy(numbers)

    def __call__(self, step: int, attempt: int, rows: torch.Tensor) -> torch.Tensor:
        """fp64 [rows] for the samples `rows` of the batch."""
        if attempt == 0:
            self.first = self.first.to(rows.device)
            return self.first[step, rows]
        streams = (np.random.Philox(key=self.keys[row], counter=[0, 0, step, attempt]) for row in rows.tolist())
        numbers = [np.random.Generator(stream).random() for stream in streams]
        return torch.tensor(numbers, dtype=torch.float64, device=rows.device)


class Nucleus:
    """Temperature, top-k and nucleus sampling.

    The vocabulary need not be sorted: a token drawn from all of them is in the nucleus if the likelier ones together
    have less than `top_p`. Otherwise neither it nor any less likely token is, and the next draw is from the likelier
    ones. Equally likely tokens are in or out together.

    Args:
        temperature: what the logits are divided by.
        top_p: keep the likeliest tokens until their total probability reaches this.
        top_k: keep at most this many; 0 keeps all.
        streams: the random numbers.

    Raises:
        FloatingPointError: a logit is NaN, or all of them are -inf.
    """

    def __init__(self, temperature: float, top_p: float, top_k: int, streams: Streams):
        self.temperature = temperature
        self.top_p = top_p
        self.top_k = top_k
        self.streams = streams

    def __call__(self, logits: torch.Tensor, step: int) -> torch.Tensor:
        """Tokens int64 [batch], drawn from logits [batch, tokens]."""
        # In blocks, so that a draw need not cumulate all of them.
        n = logits.shape[1]
        padded = logits.new_empty((len(logits), -(-n // BLOCK) * BLOCK), dtype=torch.float32)
        padded[:, :n] = logits
        padded[:, n:] = -torch.inf
        if self.temperature != 1:
            padded.div_(self.temperature)
        if self.top_k:
            least = padded.topk(min(self.top_k, n)).values[:, -1:]
            padded.masked_fill_(padded < least, -torch.inf)
        p = padded.softmax(-1)
        tokens = torch.empty(len(p), dtype=torch.long, device=p.device)
        rows = torch.arange(len(p), device=p.device)
        attempt = 0
        while len(rows):
            drawn = _draw(p, self.streams(step, attempt, rows).unsqueeze(1))
            tokens[rows] = drawn.squeeze(1)
            # p where it is larger, else 0; much faster than `where` on a CPU.
            likelier = torch.gt(p, p.gather(1, drawn), out=torch.empty_like(p)).mul_(p)
            total = likelier.sum(-1)
            if not total.isfinite().all():
                raise FloatingPointError("the logits contain nan: the model's weights or its half precision are broken")
            outside = total >= self.top_p
            rows, p = rows[outside], likelier[outside]
            attempt += 1
        return tokens


def _draw(p, uniform):
    """Columns int64 [rows, 1] of weights p [rows, a multiple of BLOCK], from uniform numbers [rows, 1].

    Sums are in fp64: over 55,030 columns the rounding of fp32 would shift what the rare tokens get.
    """
    blocks = p.unflatten(1, (-1, BLOCK))
    cumulated = blocks.sum(-1, dtype=torch.float64).cumsum(-1)
    level = uniform * cumulated[:, -1:]
    block = torch.searchsorted(cumulated, level, right=True).clamp_(max=cumulated.shape[1] - 1)
    before = torch.where(block > 0, cumulated.gather(1, (block - 1).clamp(min=0)), 0.0)
    inner = blocks.gather(1, block.unsqueeze(-1).expand(-1, -1, BLOCK)).squeeze(1).cumsum(-1, dtype=torch.float64)
    return block * BLOCK + torch.searchsorted(inner, level - before, right=True).clamp_(max=BLOCK - 1)
