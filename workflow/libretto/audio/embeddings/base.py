"""What every audio embedding has in common, and the Parquet file of a system's embeddings."""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile
from tqdm import tqdm

from libretto.audio.embeddings.resampling import resample
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
    def features(self, audio: np.ndarray, sample_rate: int) -> Any:
        """What the network reads of one clip; several threads make them at once.

        Args:
            audio: mono, float32 [n], n > 0, in -1..1.
            sample_rate: of `audio`, in Hz: `self.sample_rate` where that is not None.
        """

    @abstractmethod
    def forward(self, features: Any) -> np.ndarray:
        """The embeddings of a clip from its `features`: float32 [stretches of time, dimensions], at least one row."""

    def embed(self, audio: np.ndarray, sample_rate: int) -> np.ndarray:
        """Embed one clip: arguments as in `features`, result as in `forward`."""
        return self.forward(self.features(audio, sample_rate))


def load_audio(path: str | Path, sample_rate: int | None) -> tuple[np.ndarray, int]:
    """A clip as float32 [n] in -1..1, and its sample rate.

    Where `sample_rate` differs, resampled as frechet-audio-distance does it.
    """
    audio, own_rate = soundfile.read(path, dtype="float32")
    if sample_rate in (None, own_rate):
        return audio, own_rate
    return resample(audio, own_rate, sample_rate), sample_rate


def embed_files(embedder: Embedder, files: Iterable[tuple[int, Path]], threads: int) -> dict[int, np.ndarray]:
    """The embeddings of each clip by its index.

    Args:
        embedder: embeds one clip after the other.
        files: index and file of each clip.
        threads: how many read clips ahead, resample them and make their features.

    Raises:
        RuntimeError: a clip gave no embedding, or one that is not finite.
    """
    embeddings = {}
    files = list(files)
    clips = _read_ahead([file for _, file in files], embedder, threads)
    for (index, file), features in zip(tqdm(files, embedder.name, unit="clip", mininterval=1), clips, strict=True):
        rows = embedder.forward(features)
        if not len(rows) or not np.isfinite(rows).all():
            raise RuntimeError(f"{file}: {embedder.name} gave {len(rows)} embeddings, or some that are not finite")
        embeddings[index] = rows
    return embeddings


def _read_ahead(files: Iterable[Path], embedder: Embedder, threads: int) -> Iterator[Any]:
    """The features of each of the files, in their order; two per thread are ready at most."""
    pending: deque[Future] = deque()

    def read(file: Path) -> Any:
        return embedder.features(*load_audio(file, embedder.sample_rate))

    with ThreadPoolExecutor(threads) as pool:  # threads are enough: most of the work releases Python's lock
        for file in files:
            pending.append(pool.submit(read, file))
            if len(pending) >= 2 * threads:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


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
