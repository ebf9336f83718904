"""The validation loss of each song, and what a song's own description adds to it."""

import numpy as np
import pytest
import torch

from libretto.models.batches import MiddleChunks, load_split
from libretto.report.table import METRICS
from libretto.scores.losses import loss_own_minus_others
from libretto.tokens.vocab import AUTOREGRESS
from libretto.training.validation import mean_losses, song_losses, validation_loss

NAME = "val_loss_music_own_minus_others"


def test_the_losses_of_songs_are_torchs_of_each_alone(make_tiny, splits, family, tmp_path):
    variant = make_tiny(family)
    items = MiddleChunks(load_split(splits["valid"], str(tmp_path)), variant.prompter)
    sums = song_losses(variant, items, 3, False)
    assert sums.shape == (5, 4)
    for item, (loss, n, loss_music, n_music) in zip(items, sums.tolist(), strict=True):
        batch = variant.encode(variant.collate([item]))
        labels = batch.pop("labels")[0]
        losses = torch.nn.functional.cross_entropy(variant.model(**batch).logits[0], labels, reduction="none")
        n_notes = len(item[1]) - 1  # without the start token
        assert (n, n_music) == (len(labels), n_notes)
        assert loss == pytest.approx(losses.sum().item(), rel=1e-5)
        assert loss_music == pytest.approx(losses[-n_notes:].sum().item(), rel=1e-5)
        assert item[1][0] == AUTOREGRESS
    total = sums.sum(0).tolist()
    assert validation_loss(variant, items, 2, False) == pytest.approx(mean_losses(sums.sum(0)), rel=1e-6)
    assert mean_losses(sums.sum(0))["val_loss_music"] == total[2] / total[3]
    assert song_losses(variant, items, 3, False, rank=2, world=3).shape == (0, 4)  # a process without a batch


def test_what_a_description_adds_by_hand():
    found = loss_own_minus_others([(1.0, 1.5), (2.0, 2.5), (1.0, 1.25), (3.0, 3.25)], 0)
    assert found[NAME] == -0.375
    assert found[f"{NAME}_p"] == 1 / 2**4  # of all ways to change places, only the one that is there
    assert -0.5 <= found[f"{NAME}_low"] < -0.375 < found[f"{NAME}_high"] <= -0.25
    assert found.keys() <= set(METRICS)
    assert set(loss_own_minus_others([], 0).values()) == {None}
    assert loss_own_minus_others([(1.0, 1.5), (1.0, 1.5)], 0)[f"{NAME}_p"] == 1 / 4


def test_a_planted_gain_is_found_and_its_absence_is_not(monkeypatch):
    """Songs differ far more from each other than a description changes."""
    monkeypatch.setattr("libretto.scores.mean.RESAMPLES", 100)
    monkeypatch.setattr("libretto.scores.losses.RESAMPLES", 1_000)
    draws = np.random.default_rng(3)
    false = found = 0
    for seed in range(100):
        losses = draws.normal(2, 1, size=(60, 1)) + draws.normal(0, 0.1, size=(60, 2))
        false += loss_own_minus_others(losses, seed)[f"{NAME}_p"] < 0.05
        found += loss_own_minus_others(losses - [0.06, 0], seed)[f"{NAME}_p"] < 0.05
    print(f"of 100: {false} false positives, {found} found")
    assert false <= 7
    assert found > 90
