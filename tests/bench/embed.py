"""Clips per second of VGGish, as frechet-audio-distance reads clips and as we do, in threads; and what takes the time.

    python -m tests.bench.embed [--clips 16] [--seconds 30] [--threads 1 2 12]

Clips are noise at 22,050 Hz, weights are random. Beside a GPU, the network takes next to nothing: on a CPU, the second
column leaves it out.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile
import torch
from torchvggish.torchvggish import _vgg
from torchvggish.vggish_input import waveform_to_examples

from libretto.audio.embeddings.base import embed_files, load_audio
from libretto.audio.embeddings.vggish import VGGish
from libretto.audio.embeddings.weights import tokenizers_of_laion_clap

with tokenizers_of_laion_clap():
    from frechet_audio_distance.utils import load_audio_task

RATE = 22_050


def seconds_of(work) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2, 12])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        torch.save(_vgg().state_dict(), folder / "weights.pth")
        embedder = VGGish(str(folder / "weights.pth"), None)
        network = embedder._model
        files = []
        for index in range(options.clips):
            clip = np.random.default_rng(index).normal(0, 0.1, round(options.seconds * RATE))
            files.append((index, folder / f"{index:04d}.flac"))
            soundfile.write(files[-1][1], clip, RATE)

        first, rate = files[0][1], embedder.sample_rate
        load_audio_task(str(first), rate, channels=1)  # compiles
        audio, _ = load_audio(first, rate)
        embedder.embed(audio, rate)  # cuDNN prepares its kernels
        print(f"on {embedder._device}, a clip of {options.seconds:.0f} s, in one thread:")
        print(f"  read and resampled by the package  {seconds_of(lambda: load_audio_task(str(first), rate, 1)):.3f} s")
        print(f"  read and resampled by us           {seconds_of(lambda: load_audio(first, rate)):.3f} s")
        print(f"  its spectrograms                   {seconds_of(lambda: waveform_to_examples(audio, rate)):.3f} s")
        print(f"  these and the network              {seconds_of(lambda: embedder.embed(audio, rate)):.3f} s")

        def without_network(examples):
            return torch.zeros(len(examples), 128)

        def as_the_package():
            for _, file in files:
                embedder.embed(load_audio_task(str(file), rate, channels=1), rate)

        speeds = {}
        for column, model in (("with the network", network), ("without", without_network)):
            embedder._model = model
            speeds["the package", column] = options.clips / seconds_of(as_the_package)
            for n in options.threads:
                speeds[f"{n} ahead", column] = options.clips / seconds_of(lambda n=n: embed_files(embedder, files, n))
        print("clips per second        with the network       without")
        for row in dict.fromkeys(row for row, _ in speeds):
            cells = (
                f"{speeds[row, column]:8.2f} ({speeds[row, column] / speeds['the package', column]:4.1f} x)"
                for column in ("with the network", "without")
            )
            print(f"{row:20}", *cells)


if __name__ == "__main__":
    main()
