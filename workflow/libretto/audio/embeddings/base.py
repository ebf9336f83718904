"""What every audio embedding has in common, and the Parquet file of a system's embeddings."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile
from tqdm import tqdm

from libretto.tables import FAD_EMBEDDINGS


class Embedder(ABC):
    """Turns a clip into vectors, one for each stretch of time, whose distribution FAD compares.

    Attributes:
        name: as in the config's `metrics.fad_embedding`.
        sample_rate: of the audio that it needs, in Hz; None if any will do.
    """

    name: str
    sample_rate: int | None

    @abstractmethod
    def embed(self, audio: np.ndarray, sample_rate: int) -> np.ndarray:
        """Embed one clip.

        Args:
            audio: mono, float32 [n], n > 0, in -1..1.
            sample_rate: of `audio`, in Hz: `self.sample_rate` where that is not None.

        Returns:
            float32 [stretches of time, dimensions], at least one row.
        """


def load_audio(path: str | Path, sample_rate: int | None) -> tuple[np.ndarray, int]:
    """A clip as float32 [n] in -1..1, and its sample rate.

    Where `sample_rate` differs, resampled as frechet-audio-distance does it (resampy, Kaiser window, best quality).
    """
    audio, own_rate = soundfile.read(path, dtype="float32")
    if sample_rate in (None, own_rate):
        return audio, own_rate
    import resampy  # compiles for a second, so only where it is needed

    return resampy.resample(audio, own_rate, sample_rate), sample_rate


def embed_files(embedder: Embedder, files: Iterable[tuple[int, Path]]) -> dict[int, np.ndarray]:
    """The embeddings of each clip by its index.

    Raises:
        RuntimeError: a clip gave no embedding, or one that is not finite.
    """
    embeddings = {}
    for index, file in tqdm(list(files), embedder.name, unit="clip", mininterval=1):
        rows = embedder.embed(*load_audio(file, embedder.sample_rate))
        if not len(rows) or not np.isfinite(rows).all():
            raise RuntimeError(f"{file}: {embedder.name} gave {len(rows)} embeddings, or some that are not finite")
        embeddings[index] = rows
    return embeddings


def write_embeddings(embeddings: dict[int, np.ndarray], path: str | Path) -> None:
    """Write as Parquet, in rows of `FAD_EMBEDDINGS`."""
    indices = [index for index, rows in embeddings.items() for _ in rows]
    rows = [row for rows in embeddings.values() for row in rows]
    table = pa.table({"index": indices, "embedding": rows}, FAD_EMBEDDINGS)
    pq.write_table(table, path, compression="zstd")


def read_embeddings(path: str | Path) -> dict[int, np.ndarray]:
    """Read what `write_embeddings` wrote."""
    table = pq.read_table(path)
    if not len(table):
        return {}
    indices = table["index"].to_numpy()
    rows = np.stack(table["embedding"].to_numpy())
    starts = np.flatnonzero(np.diff(indices, prepend=indices[0] - 1))
    return dict(zip(indices[starts].tolist(), np.split(rows, starts[1:]), strict=True))
