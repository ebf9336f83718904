"""The frozen Llama that reads the description for the AMT family (paper, section 4.1)."""

import torch
from transformers import AutoConfig, LlamaModel

from libretto.models.attention import CAUSAL
from libretto.models.device import inference_dtype


class TextEncoder:
    """Llama's hidden states of a prompt. Not a module: its weights are not part of the model that is trained and saved.

    Args:
        folder: a Llama checkpoint in the hub's format.
        all_layers: the states of the embedding and of every layer instead of the last layer's alone.
        device: where it runs; bf16 on a GPU, fp32 on the CPU.
    """

    def __init__(self, folder: str, all_layers: bool, device: torch.device):
        dtype = inference_dtype(device)
        self.model = LlamaModel.from_pretrained(folder, dtype=dtype, attn_implementation=CAUSAL).to(device).eval()
        self.model.requires_grad_(False)
        self.all_layers = all_layers

    @torch.no_grad()
    def __call__(self, text_ids: torch.Tensor) -> torch.Tensor:
        """States [batch, tokens, width], or [batch, tokens, layers + 1, width] with `all_layers`.

        Args:
            text_ids: [batch, tokens] int64, right-padded with any id: attention is causal, no prompt sees its padding.
        """
        # The states are those of the encoder's own dtype, whatever autocast the training runs in.
        with torch.autocast(self.model.device.type, enabled=False):
            outputs = self.model(text_ids, use_cache=False, output_hidden_states=self.all_layers)
        return torch.stack(outputs.hidden_states, dim=2) if self.all_layers else outputs.last_hidden_state


def text_shape(folder: str, text_states: str) -> dict[str, int]:
    """What an AMT variant must know about its text encoder: the width of its states and their number per token."""
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    layers = config.num_hidden_layers + 1 if text_states == "weighted" else 1
    return {"text_hidden_size": config.hidden_size, "text_layers": layers}
