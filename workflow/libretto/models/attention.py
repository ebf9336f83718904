"""SDPA for batches that are padded at the right (`CAUSAL`) or at the left (`LEFT_PADDED`).

Right padding needs no mask: no token sees the padding that follows it, and the padding's own targets are ignored. A
mask, even one of ones, would cost the flash kernel. As no mask function is registered under this name, transformers
builds none; so it cannot mistake the prefix's negative positions for packed sequences either.

Left padding needs one. In transformers' own mask, padding attends to nothing, and a kernel may return NaN for it.
Through the padding's values the NaN would then reach every token, because 0 * NaN is NaN.
"""

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

CAUSAL = "sdpa_causal"
LEFT_PADDED = "sdpa_left_padded"


def left_padded_mask(*args, **kwargs) -> torch.Tensor | None:
    """transformers' SDPA mask [batch, 1, queries, keys], but a query with no key to attend to attends to all keys."""
    mask = sdpa_mask(*args, **kwargs)
    return None if mask is None else mask | ~mask.any(-1, keepdim=True)


AttentionInterface.register(CAUSAL, sdpa_attention_forward)
AttentionInterface.register(LEFT_PADDED, sdpa_attention_forward)
AttentionMaskInterface.register(LEFT_PADDED, left_padded_mask)
