"""A fixed statistic of audio that needs no weights: how loud each of 32 mel bands is, second by second.

It measures timbre, register and loudness, not rhythm or harmony. Its Fréchet distance says whether two sets of clips
sound
alike in that sense; it cannot be compared with a distance in another embedding.

For each second of a clip (a partial last one is left out, unless it is the only one): the power spectrum of
Hann windows of 64 ms every 32 ms, over the squared sum of the window (a sine of amplitude 1 peaks at 1/4); averaged
over the second's windows; summed in 32 triangular bands, equally spaced on the mel scale (2595 log10(1 + f / 700))
between 50 Hz and 8 kHz; with 1e-7 added, the natural logarithm of that; divided by √32, so that
distances are a mean over the bands.
"""

from functools import cache

import numpy as np

from libretto.audio.embeddings.base import Embedder

BANDS = 32
LOWEST_HZ = 50.0
HIGHEST_HZ = 8_000.0
WINDOW_SECONDS = 0.064
HOP_SECONDS = 0.032
FLOOR = 1e-7


class LogMel(Embedder):
    """See the module; 32 dimensions, a row per second."""

    name = "logmel"
    sample_rate = None

    def features(self, audio, sample_rate):
        """The embeddings themselves; see `Embedder.features`."""
        window, hop = round(WINDOW_SECONDS * sample_rate), round(HOP_SECONDS * sample_rate)
        if len(audio) < sample_rate:
            seconds = np.pad(audio, (0, max(0, window - len(audio))))[None]
        else:
            seconds = audio[: len(audio) // sample_rate * sample_rate].reshape(-1, sample_rate)
        hann = np.hanning(window + 1)[:-1]
        windows = np.lib.stride_tricks.sliding_window_view(seconds, window, axis=1)[:, ::hop]
        power = np.abs(np.fft.rfft(windows * hann, axis=-1) / hann.sum()) ** 2
        bands = power.mean(axis=1) @ mel_filters(sample_rate, window).T
        return (np.log(bands + FLOOR) / np.sqrt(BANDS)).astype(np.float32)

    def forward(self, features):
        """See `Embedder.forward`."""
        return features


@cache
def mel_filters(sample_rate: int, window: int) -> np.ndarray:
    """The triangles of the bands over the bins of a spectrum, float64 [BANDS, window // 2 + 1], each of height 1."""

    def mel(hertz):
        return 2595 * np.log10(1 + hertz / 700)

    edges = np.linspace(mel(LOWEST_HZ), mel(HIGHEST_HZ), BANDS + 2)
    bins = mel(np.fft.rfftfreq(window, 1 / sample_rate))
    left, centre, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    return np.clip(np.minimum((bins - left) / (centre - left), (right - bins) / (right - centre)), 0, None)
