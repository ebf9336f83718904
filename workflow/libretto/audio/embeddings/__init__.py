"""Embeddings: VGGish (the paper's FAD), CLAP (the paper's CLAP score), a log-mel statistic; CLaMP 2 of MIDI files."""

from libretto.audio.embeddings.base import Embedder
from libretto.audio.embeddings.logmel import LogMel


def make_embedder(name: str, weights: list[str], sha256: str | None) -> Embedder:
    """The embedder of audio of that name.

    Args:
        name: of `libretto.config.embeddings.EMBEDDINGS`.
        weights: files and folders of its models, in the order of that table.
        sha256: what the first of them must hash to; None if that is not known.

    Raises:
        InputError: the weights do not match it.
    """
    # Torch and what builds on it take seconds to import: only those who need them should wait.
    if name == "vggish":
        from libretto.audio.embeddings.vggish import VGGish

        (checkpoint,) = weights
        return VGGish(checkpoint, sha256)
    if name == "clap":
        from libretto.audio.embeddings.clap import Clap

        checkpoint, roberta = weights
        return Clap(checkpoint, roberta, sha256)
    if name == "logmel":
        return LogMel()
    raise ValueError(f"no embedding is called {name!r}")
