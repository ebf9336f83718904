"""CLAP by laion-clap (HTSAT-base, trained on music and AudioSet): audio and text in one space (paper, section 5.3).

The package crops clips of more than 10 s at random. Here every clip is heard whole, in windows of exactly 10 s: as
few as cover it, spread evenly from its start to its end (a clip of 25 s: from 0, 7.5 and 15 s), so that they overlap
where they must. A shorter clip is repeated as often as it fits and padded with silence, as in the package.
"""

import numpy as np
import torch

from libretto.audio.embeddings.base import Embedder
from libretto.audio.embeddings.weights import check_weights, tokenizers_of_laion_clap, untrusted_weights
from libretto.models.device import select_device

WINDOW_SECONDS = 10
TEXTS_AT_ONCE = 64


class Clap(Embedder):
    """512 dimensions, unit length, a row per window of 10 s."""

    name = "clap"
    sample_rate = 48_000

    def __init__(self, weights: str, roberta: str, sha256: str | None):
        check_weights(weights, sha256)
        with tokenizers_of_laion_clap(roberta):
            from laion_clap import CLAP_Module

            self._model = CLAP_Module(enable_fusion=False, device=select_device(), amodel="HTSAT-base")
        with untrusted_weights(weights, "CLAP"):
            self._model.load_ckpt(str(weights), verbose=False)
        self._model.eval()

    def features(self, audio, sample_rate):
        """The clip's windows; see `Embedder.features`."""
        return torch.from_numpy(split_windows(audio, WINDOW_SECONDS * sample_rate))

    @torch.no_grad()
    def forward(self, features):
        """See `Embedder.forward`."""
        return self._model.get_audio_embedding_from_data(features, use_tensor=True).cpu().numpy()

    @torch.no_grad()
    def embed_texts(self, texts: list[str]) -> np.ndarray:
        """Embed descriptions, cut after 77 tokens as in training: float32 [texts, 512], unit length."""
        starts = range(0, len(texts), TEXTS_AT_ONCE)
        return np.concatenate([self._model.get_text_embedding(texts[i : i + TEXTS_AT_ONCE]) for i in starts])


def split_windows(audio: np.ndarray, length: int) -> np.ndarray:
    """The windows [k, length] that cover a clip of n samples; [1, n] where n is at most `length`."""
    if len(audio) <= length:
        return audio[None]
    starts = np.linspace(0, len(audio) - length, -(-len(audio) // length)).round().astype(int)
    return np.stack([audio[start : start + length] for start in starts])
