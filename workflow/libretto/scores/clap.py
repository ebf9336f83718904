"""The CLAP score: how well a clip fits its description (paper, section 5.3)."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from libretto.tables import read_rows


def read_clap(path: str | Path) -> tuple[dict[int, np.ndarray], dict[int, np.ndarray]]:
    """The windows [k, d] and the description [d] of each clip by its index, in the order of the indices.

    Args:
        path: embeddings/{system}/clap.parquet.
    """
    rows = sorted(read_rows(path), key=lambda row: row["index"])
    windows = {row["index"]: np.array(row["audio"], np.float32) for row in rows}
    return windows, {row["index"]: np.array(row["text"], np.float32) for row in rows}


def clap_matrix(clips: Sequence[np.ndarray], texts: np.ndarray) -> np.ndarray:
    """The CLAP score of each clip with each description.

    Args:
        clips: the windows of each, [k, d], unit length.
        texts: [n, d], unit length.

    Returns:
        float64 [n, n], row i being clip i, column j the description of clip j.
    """
    means = np.stack([np.asarray(windows, np.float64).mean(0) for windows in clips])
    return means @ np.asarray(texts, np.float64).T


def clap_score(windows: np.ndarray, text: np.ndarray) -> float:
    """The CLAP score of a clip: the mean cosine of the angle between each of its windows and the text.

    The authors score one random window of 10 s (paper, section 5.3). The mean over windows that cover the clip
    estimates the expected value of that.

    Args:
        windows: [k, d], unit length.
        text: [d], unit length: the description that the clip is paired with.

    Returns:
        In -1..1.
    """
    return float(np.mean(np.asarray(windows, np.float64) @ np.asarray(text, np.float64)))
