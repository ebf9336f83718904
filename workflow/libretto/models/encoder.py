"""The frozen Llama that reads the description for the AMT family (paper, section 4.1)."""

import torch
from transformers import LlamaConfig, LlamaModel

from libretto.models.attention import CAUSAL
from libretto.models.device import inference_dtype


class TextEncoder:
    """Llama's hidden states of a prompt. Not a module: its weights are not part of the model that is trained and saved.

    Args:
        model: Llama without its head.
        all_layers: the states of the embedding and of every layer instead of the last layer's alone.
    """

    def __init__(self, model: LlamaModel, all_layers: bool):
        model.set_attn_implementation(CAUSAL)
        self.model = model.eval().requires_grad_(False)
        self.all_layers = all_layers

    @classmethod
    def from_folder(cls, folder: str, all_layers: bool, device: torch.device) -> "TextEncoder":
        """The encoder of a Llama checkpoint in the hub's format, on `device`: in bf16 on a GPU, in fp32 on the CPU."""
        return cls(LlamaModel.from_pretrained(folder, dtype=inference_dtype(device)).to(device), all_layers)

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


def text_shape(config: LlamaConfig, text_states: str) -> dict[str, int]:
    """What an AMT variant must know about its text encoder: the width of its states and their number per token."""
    layers = config.num_hidden_layers + 1 if text_states == "weighted" else 1
    return {"text_hidden_size": config.hidden_size, "text_layers": layers}
