"""SDPA for batches that are padded at the right (`CAUSAL`), and for decoding with a cache (`GROUPED`).

Right padding needs no mask: no token sees the padding that follows it, and the padding's own targets are ignored. A
mask, even one of ones, would cost the flash kernel. As no mask function is registered under these names, transformers
builds none; so it cannot mistake the prefix's negative positions for packed sequences either. `GROUPED` takes the mask
that decoding passes.

Where heads share keys and values, transformers repeats these for each step's single query. With `GROUPED`, a step reads
them once. cuDNN's kernel knows groups: at a single query it reads at 3.5 to 4.0 TB/s on an H200, where a copy reaches
4.3. For others, a group's queries are viewed as those of one head (1.9 to 2.6 TB/s on the same card).
"""

import torch
from torch.backends import cuda
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
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
    if query.is_cuda and cuda.can_use_cudnn_attention(
        cuda.SDPAParams(query, key, value, attention_mask, 0.0, False, heads > key.shape[1])
    ):
        with sdpa_kernel(SDPBackend.CUDNN_ATTENTION):
            output = functional.scaled_dot_product_attention(
                query, key, value, attn_mask=attention_mask, scale=scaling, enable_gqa=heads > key.shape[1]
            )
    else:
        groups = query.view(batch, key.shape[1], -1, d)
        output = functional.scaled_dot_product_attention(groups, key, value, attn_mask=attention_mask, scale=scaling)
    return output.reshape(batch, 1, heads, d), None  # not a view: kernels differ in the layout they return


AttentionInterface.register(CAUSAL, sdpa_attention_forward)
AttentionInterface.register(GROUPED, grouped_attention)
