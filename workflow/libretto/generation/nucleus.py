"""Nucleus sampling without sorting (Holtzman et al., 2020), from a random stream of each sample's own."""

from collections.abc import Sequence

import numpy as np
import torch


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
        logits = logits.float() / self.temperature
        if self.top_k:
            least = logits.topk(min(self.top_k, logits.shape[1])).values[:, -1:]
            logits = logits.masked_fill(logits < least, -torch.inf)
        p = logits.softmax(-1)
        if not p.sum(-1).isfinite().all():
            raise FloatingPointError("the logits contain nan: the model's weights or its half precision are broken")
        tokens = torch.empty(len(p), dtype=torch.long, device=p.device)
        rows = torch.arange(len(p), device=p.device)
        attempt = 0
        while len(rows):
            # In fp64: over 55,030 rows the rounding of fp32 would shift what the rare tokens get.
            cumulated = p.cumsum(-1, dtype=torch.float64)
            level = self.streams(step, attempt, rows).unsqueeze(1) * cumulated[:, -1:]
            drawn = torch.searchsorted(cumulated, level, right=True).clamp_(max=p.shape[1] - 1)
            tokens[rows] = drawn.squeeze(1)
            likelier = torch.where(p > p.gather(1, drawn), p, 0.0)
            outside = likelier.sum(-1) >= self.top_p
            rows, p = rows[outside], likelier[outside]
            attempt += 1
        return tokens
