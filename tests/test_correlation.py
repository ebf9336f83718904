"""What CLAP and FAD go with: against SciPy, and on simulated samples whose correlation is known."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from libretto.config.systems import System
from libretto.report.figures import plot_correlations
from libretto.report.presentation import follows_instruments
from libretto.scores.correlation import POOLED, correlations, spearman

DRAWS = np.random.default_rng(4)
SYSTEMS = ["a", "b"]


def samples(n=80, **scores):
    """Rows of scores.parquet: of each system, `n` samples; `scores` by name, [system, sample]."""
    return pd.DataFrame(
        [
            {"system": system, "index": i, "prompt_lmd_id": f"song{i}", "score": name, "value": float(values[k][i])}
            for name, values in scores.items()
            for k, system in enumerate(SYSTEMS)
            for i in range(n)
        ]
    )


@pytest.fixture(scope="module")
def rows():
    """CLAP rises with F1; FAD per sample is drawn at random; three in ten samples are short."""
    f1 = DRAWS.random((2, 80)).round(1)  # with ties
    zeros = np.zeros((2, 80))
    short = DRAWS.random((2, 80)) < 0.3
    short[1] = False
    clap = f1 + DRAWS.normal(0, 0.3, (2, 80))
    scores = {"instrument_f1": f1, "clap": clap, "short_share": short, "crowded_share": zeros}
    long = samples(**scores, fad_per_sample=DRAWS.random((2, 80)))
    return long, correlations(long, SYSTEMS, 0)


def test_rho_is_scipys(rows):
    long, found = rows
    wide = long.pivot(index=["system", "prompt_lmd_id"], columns="score", values="value")
    for system in (*SYSTEMS, POOLED):
        part = wide if system == POOLED else wide.loc[system]
        if system == POOLED:  # each sample by its rank within its own system
            part = part.groupby("system").rank()
        own = found[(found["score"] == "clap") & (found["against"] == "instrument_f1") & (found["system"] == system)]
        assert own["rho"].item() == pytest.approx(stats.spearmanr(part["clap"], part["instrument_f1"]).statistic)
        assert own["low"].item() < own["rho"].item() < own["high"].item()
        assert own["n"].item() == len(part)


def test_what_is_the_same_in_all_samples_goes_with_nothing(rows):
    _, found = rows
    undefined = found[found["rho"].isna()][["against", "system"]].drop_duplicates()
    assert undefined.to_numpy().tolist() == [["degenerate", "b"]]


def test_the_sentence_is_made_from_the_numbers(rows):
    _, found = rows
    sentence = follows_instruments(found, clap=True)
    own = found[found["system"] == POOLED].iloc[0]
    assert f"CLAP rises with instrument F1 (ρ {own['rho']:.2f}, 95 % {own['low']:.2f} to {own['high']:.2f}, n 160)" in (
        sentence
    )
    assert "FAD per sample shows no tie to instrument F1" in sentence
    long = rows[0]
    without = correlations(long[long["score"] != "clap"], SYSTEMS, 0)
    assert set(without["score"]) == {"fad_per_sample"}
    assert follows_instruments(without, clap=False).endswith(". CLAP was not measured.")


def test_the_figure_shows_each_number(rows):
    _, found = rows
    systems = [System(name, "variant", "AMT", name, name, 1.0) for name in SYSTEMS]
    figure = plot_correlations(found, systems)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["CLAP", "FAD per sample"]
    drawn = [x for line in figure.axes[0].lines for x in line.get_xdata()]
    assert set(found[found["score"] == "clap"]["rho"].dropna()) <= set(drawn)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["a, T 1.0", "b, T 1.0", "all of them"]
    assert len(plot_correlations(found[:0], systems).axes) == 1


def test_intervals_cover_the_truth_where_samples_of_a_prompt_are_alike(monkeypatch):
    """60 prompts, four samples of each with a common part: of normal scores with r = 0.5, ρ is 6/π asin(r/2)."""
    monkeypatch.setattr("libretto.scores.correlation.RESAMPLES", 500)
    draws, prompts, covered = np.random.default_rng(5), np.repeat(np.arange(60), 4), 0
    for seed in range(200):
        common = draws.multivariate_normal([0, 0], [[1, 0.5], [0.5, 1]], 60).repeat(4, axis=0)
        own = draws.multivariate_normal([0, 0], [[1, 0.5], [0.5, 1]], 240)
        _, low, high = spearman(*(common + own).T, prompts, seed)
        covered += low < 6 / np.pi * np.arcsin(0.25) < high
    print(f"{covered} of 200")
    assert 180 <= covered <= 197
    assert spearman(np.arange(10.0), np.arange(10.0), np.arange(10), 0) == (None, None, None)


def test_a_few_degenerate_samples_say_nothing():
    """A draw without any of them has no correlation: intervals of the others would miss zero too often."""
    draws = np.random.default_rng(6)
    for n in (1, 9, 10):
        low = spearman(draws.random(100), (np.arange(100) < n).astype(float), np.arange(100), 0)[1]
        assert (low is None) == (n < 10)


def test_a_system_that_is_better_in_both_ties_nothing():
    f1, clap = DRAWS.random((2, 80)), DRAWS.random((2, 80))
    f1[1] += 5
    clap[1] += 5
    zeros = np.zeros((2, 80))
    found = correlations(samples(instrument_f1=f1, clap=clap, short_share=zeros, crowded_share=zeros), SYSTEMS, 0)
    pooled = found[(found["system"] == POOLED) & (found["against"] == "instrument_f1")]
    assert pooled["low"].item() < 0 < pooled["high"].item()
