"""SDPA for batches that are padded at the right (`CAUSAL`), and for decoding with a cache (`GROUPED`).

Right padding needs no mask: no token sees the padding that follows it, and the padding's own targets are ignored. A
mask, even one of ones, would cost the flash kernel. As no mask function is registered under these names, transformers
builds none; so it cannot mistake the prefix's negative positions for packed sequences either. `GROUPED` takes the mask
that decoding passes.

Where heads share keys and values, transformers repeats these for each step's single query. `GROUPED` views a group's
queries as those of one head instead; a step then reads the cache once.
"""

import torch
from torch.nn import functional
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

CAUSAL = "sdpa_causal"
GROUPED = "sdpa_grouped"


def grouped_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor,
    scaling: float | None = None,
    **kwargs,
) -> tuple[torch.Tensor, None]:
    """Attention as transformers calls it: [batch, heads, queries, d] to [batch, queries, heads, d]."""
    batch, heads, n, d = query.shape
    if n > 1:  # a prompt
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
    groups = query.view(batch, key.shape[1], -1, d)
    output = functional.scaled_dot_product_attention(groups, key, value, attn_mask=attention_mask, scale=scaling)
    return output.view(batch, 1, heads, d), None


AttentionInterface.register(CAUSAL, sdpa_attention_forward)
AttentionInterface.register(GROUPED, grouped_attention)
