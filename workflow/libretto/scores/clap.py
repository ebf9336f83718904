"""The CLAP score: how well a clip fits its description (paper, section 5.3)."""

import numpy as np


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
