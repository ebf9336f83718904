"""Causal attention without a mask, for right-padded batches.

Right padding needs no mask: no token sees the padding that follows it, and the padding's own targets are ignored. A
mask, even one of ones, would cost the flash kernel. As no mask function is registered under this name, transformers
builds none; so it cannot mistake the prefix's negative positions for packed sequences either.
"""

from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

CAUSAL = "sdpa_causal"

AttentionInterface.register(CAUSAL, sdpa_attention_forward)
