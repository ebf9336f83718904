"""Pairs of systems, compared over the prompts that both have."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from libretto.scores.comparisons import ALPHA, compare, like_the_best

DRAWS = np.random.default_rng(0)
PROMPTS = DRAWS.normal(0, 1, 80)
SCORES = {
    "good": PROMPTS + DRAWS.normal(0.5, 0.3, 80),
    "alike": PROMPTS + DRAWS.normal(0.48, 0.3, 80),
    "bad": PROMPTS + DRAWS.normal(0.0, 0.3, 80),
}


@pytest.fixture
def samples():
    return pd.DataFrame(
        {"system": name, "index": i, "prompt_lmd_id": f"song {i}", "score": "clap", "value": value}
        for name, values in SCORES.items()
        for i, value in enumerate(values)
    )


def test_pairs_are_compared_prompt_by_prompt(samples):
    shuffled = samples.sample(frac=1, random_state=0)
    found = compare(shuffled, SCORES, seed=1)
    assert [(row.first, row.second) for row in found.itertuples()] == [
        ("good", "alike"),
        ("good", "bad"),
        ("alike", "bad"),
    ]
    for row in found.itertuples():
        first, second = SCORES[row.first], SCORES[row.second]
        assert row.n == 80
        assert row.difference == pytest.approx((first - second).mean())
        assert row.p == pytest.approx(stats.ttest_rel(first, second).pvalue, abs=0.02)
        assert row.p <= row.p_holm <= 3 * row.p + 1e-12
    pd.testing.assert_frame_equal(found, compare(samples, SCORES, seed=1))


def test_a_real_difference_is_found_however_many_pairs_there_are(monkeypatch):
    monkeypatch.setattr("libretto.scores.inference.RESAMPLES", 1_000)
    draws = np.random.default_rng(0)
    n, names = 12, ["good", *(f"system {i}" for i in range(11))]
    rows = [
        {"system": name, "prompt_lmd_id": str(i), "score": "clap", "value": draws.normal() + 10 * (name == "good")}
        for name in names
        for i in range(n)
    ]
    found = compare(pd.DataFrame(rows), names, seed=1)
    assert len(found) == 12 * 11 / 2  # of 1,000 resamples, p is 1 / 1,001 at least: times 66, that is 0.066
    real = found["first"] == "good"
    assert (found.loc[real, "p_holm"] < ALPHA).all()
    assert (found.loc[~real, "p_holm"] >= ALPHA).all()
    assert like_the_best(found, {name: float(name == "good") for name in names}, "clap", True) == {"good"}


def test_prompts_that_one_lacks_are_left_out(samples):
    fewer = samples[(samples["system"] != "bad") | (samples["index"] < 30)]
    found = compare(fewer, SCORES, seed=1).set_index(["first", "second"])
    assert found.loc[("good", "bad"), "n"] == 30
    assert found.loc[("good", "alike"), "n"] == 80
    one = samples[(samples["system"] != "bad") | (samples["index"] < 1)]
    assert ("good", "bad") not in compare(one, SCORES, seed=1).set_index(["first", "second"]).index


def test_the_best_and_what_cannot_be_told_from_it(samples):
    found = compare(samples, SCORES, seed=1)
    means = {name: values.mean() for name, values in SCORES.items()}
    best = max(("good", "alike"), key=means.get)
    assert like_the_best(found, means, "clap", True) == {"good", "alike"}
    assert like_the_best(found, means, "clap", False) == {"bad"}
    assert like_the_best(found, {best: means[best]}, "clap", True) == {best}
    assert like_the_best(found, {}, "clap", True) == set()
