"""A sample's tempo, found from its onsets alone, against that of its description."""

from collections.abc import Mapping, Sequence

import numpy as np

from libretto.tokens.analysis import estimate_tempo, tempo_bin


def tempo_matches(samples: Sequence[Mapping], tempos: Mapping[str, float | None]) -> tuple[list[int], np.ndarray]:
    """Whether each sample's tempo is in the bin of each sample's description (Text2midi's TB).

    Args:
        samples: rows of samples/{system}/tokens.parquet; those whose description has no tempo are left out.
        tempos: MidiCaps' `tempo` by lmd_id.

    Returns:
        The indices of the samples, and float [n, n], row i being the music of sample i, column j the description of
        sample j.
    """
    described = [row for row in samples if tempos[row["prompt_lmd_id"]]]
    wanted = np.array([tempo_bin(tempos[row["prompt_lmd_id"]]) for row in described], int)
    found = np.array([tempo_bin(estimate_tempo(row["tokens"])) for row in described], int)
    return [row["index"] for row in described], (found[:, None] == wanted).astype(float)
