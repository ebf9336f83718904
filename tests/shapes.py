"""The paper's variants at their real sizes, with random weights."""

import torch

from libretto.models.variants import Variant
from libretto.preflight.models import base_config, random_variant

AMT_LARGE = "stanford-crfm/music-large-800k"
LLAMA_1B, LLAMA_3B = "meta-llama/Llama-3.2-1B", "meta-llama/Llama-3.2-3B"

# Settings, pretrained model, Llama that reads the text, trainable parameters in the paper's Table 2 (in millions).
REAL = {
    "amt": ({"family": "amt", "text_states": "last"}, AMT_LARGE, LLAMA_1B, 782.8),
    "llama-1b": ({"family": "llama"}, LLAMA_1B, LLAMA_1B, 1465.4),
    "llama-3b": ({"family": "llama"}, LLAMA_3B, LLAMA_3B, 3560.3),
}


def make_variant(name: str, layers: int | None, device: torch.device) -> Variant:
    """A variant of `REAL`, of all its layers or of fewer."""
    settings, base, text_model, _ = REAL[name]
    shapes = (base_config(model, {"hub": model}, "", layers) for model in (base, text_model))
    return random_variant(settings, *shapes, 256, device)
