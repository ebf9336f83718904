"""VGGish by frechet-audio-distance, as in the paper's FAD: 16 kHz, no PCA, no last activation."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torchvggish
from torchvggish.torchvggish import VGGISH_WEIGHTS
from torchvggish.vggish_input import waveform_to_examples

from libretto.audio.embeddings.base import Embedder
from libretto.audio.embeddings.weights import check_weights, tokenizers_of_laion_clap, untrusted_weights
from libretto.models.device import select_device

MIN_SAMPLES = 400 + 95 * 160  # samples of one example: 96 windows of 25 ms every 10 ms


class VGGish(Embedder):
    """128 dimensions, a row per 0.96 s; a shorter clip is padded with silence."""

    name = "vggish"
    sample_rate = 16_000

    def __init__(self, weights: str, sha256: str | None):
        check_weights(weights, sha256)
        self._device = select_device()
        with tokenizers_of_laion_clap():
            from frechet_audio_distance import FrechetAudioDistance
        with _torch_hub_of(Path(weights)) as folder:
            self._model = FrechetAudioDistance(folder, "vggish", sample_rate=self.sample_rate).model.to(self._device)

    @torch.no_grad()
    def features(self, audio, sample_rate):
        """The clip's log-mel spectrograms, one for each row; see `Embedder.features`."""
        return waveform_to_examples(np.pad(audio, (0, max(0, MIN_SAMPLES - len(audio)))), sample_rate)

    @torch.no_grad()
    def forward(self, features):
        """See `Embedder.forward`."""
        return self._model(features.to(self._device)).cpu().numpy()


@contextlib.contextmanager
def _torch_hub_of(weights: Path) -> Iterator[str]:
    """A hub folder that holds `weights`, and a `torch.hub.load` that takes the network from the package torchvggish.

    frechet-audio-distance asks for the repository harritaylor/torchvggish, the same code, but in whatever state
    its branch is today, and it needs the network even if a copy is cached.
    """

    def load_network(repo_or_dir, model):
        with untrusted_weights(weights, "VGGish"):
            return torchvggish.vggish(postprocess=False)

    load, folder_before = torch.hub.load, torch.hub.get_dir()
    with tempfile.TemporaryDirectory() as folder:
        checkpoints = Path(folder, "checkpoints")
        checkpoints.mkdir()
        (checkpoints / Path(VGGISH_WEIGHTS).name).symlink_to(weights.resolve())
        torch.hub.load = load_network
        try:
            yield folder
        finally:
            torch.hub.load = load
            torch.hub.set_dir(folder_before)
