"""Intervals and tests, on data whose answer is known."""

import numpy as np
import pytest
from scipy import stats

from libretto.scores import inference, mean
from libretto.scores.inference import holm, own_minus_others, paired_p
from libretto.scores.mean import bootstrap_interval


def test_an_interval_covers_the_truth_as_often_as_it_says(monkeypatch):
    """Of skewed data, as scores of notes are; of 400, 92 to 98 % are covered."""
    monkeypatch.setattr(mean, "RESAMPLES", 1_000)
    draws = np.random.default_rng(1)
    covered = 0
    for seed in range(400):
        low, high = bootstrap_interval(draws.gamma(2.0, size=100), seed)
        covered += low <= 2.0 <= high
    print(f"coverage: {covered / 400:.3f}")
    assert 0.92 <= covered / 400 <= 0.98


def test_an_interval_is_near_the_normal_one_and_the_same_in_every_run():
    values = np.random.default_rng(2).normal(3.0, 1.0, 400)
    expected = stats.t.interval(0.95, 399, values.mean(), stats.sem(values))
    assert bootstrap_interval(values, 5) == pytest.approx(expected, abs=0.02)
    assert bootstrap_interval(values, 5) == bootstrap_interval(values, 5)


def test_an_interval_of_too_few_or_equal_values():
    assert bootstrap_interval([1.0], 0) == (None, None)
    assert bootstrap_interval([0.5, 0.5, 0.5], 0) == (0.5, 0.5)
    for nearly in ([1.0] * 15 + [1 - 2**-53], [0.3] * 15 + [0.1 + 0.2], [0.0] * 15 + [1e-200]):
        assert bootstrap_interval(nearly, 0) == pytest.approx((nearly[0], nearly[0]), abs=1e-15)
    low, high = bootstrap_interval([0.3] * 15 + [0.3 + 1e-9], 0)
    assert 0.3 <= low < high < 0.3 + 1e-9


def test_the_paired_test_keeps_its_level_and_finds_a_planted_difference(monkeypatch):
    """Prompts differ by far more than systems: unpaired, the difference would be lost in that."""
    monkeypatch.setattr(inference, "RESAMPLES", 1_000)
    draws = np.random.default_rng(3)
    false, found, unpaired = 0, 0, 0
    for seed in range(200):
        prompts = draws.normal(0, 1.0, 100)
        first, second = (prompts + draws.normal(0, 0.2, 100) for _ in range(2))
        false += paired_p(first, second, seed) < 0.05
        found += paired_p(first + 0.08, second, seed) < 0.05
        unpaired += stats.ttest_ind(first + 0.08, second).pvalue < 0.05
    print(f"of 200: {false} false positives, {found} found, {unpaired} by an unpaired test")
    assert 3 <= false <= 19  # 10 expected; the binomial's 99 % interval
    assert found > 140
    assert unpaired < 20


def test_the_paired_test_agrees_with_students():
    draws = np.random.default_rng(4)
    for shift in (0.0, 0.1, 0.2):
        first, second = draws.normal(shift, 1, 150), draws.normal(0, 1, 150)
        assert paired_p(first, second, 0) == pytest.approx(stats.ttest_rel(first, second).pvalue, abs=0.02)


def test_the_paired_test_of_equal_scores():
    assert paired_p([1.0, 2.0], [1.0, 2.0], 0) == 1.0
    assert paired_p([2.0, 3.0, 4.0], [1.0, 2.0, 3.0], 0) < 0.001
    assert paired_p([1.0], [2.0], 0) is None


def test_holm_by_hand():
    # Sorted .01 .02 .03 .04, times 4 3 2 1: .04 .06 .06 .04, never falling.
    assert holm([0.03, 0.01, 0.04, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


def test_own_minus_others_by_hand():
    difference, p = own_minus_others(np.array([[1.0, 0.0], [0.5, 1.0]]), 0)
    assert difference == pytest.approx(1.0 - 0.25)
    assert p == pytest.approx(0.5, abs=0.03)  # of two prompts, every other dealing is the own one
    assert own_minus_others(np.ones((1, 1)), 0) == (None, None)


def test_a_planted_effect_of_the_text_is_found_and_its_absence_is_not(monkeypatch):
    """Some descriptions are easily met, and some pieces meet many: neither is an effect of the text."""
    monkeypatch.setattr(inference, "RESAMPLES", 1_000)
    draws = np.random.default_rng(6)
    false = found = 0
    for seed in range(100):
        noise = draws.normal(size=(60, 1)) + draws.normal(size=(1, 60)) + draws.normal(size=(60, 60))
        false += own_minus_others(noise, seed)[1] < 0.05
        found += own_minus_others(noise + 0.5 * np.eye(60), seed)[1] < 0.05
    print(f"of 100: {false} false positives, {found} found")
    assert false <= 7
    assert found > 90
