"""Whether the demo's results are music: `.ci/run` calls this after `make demo`; pytest does not collect it by itself.

The bounds hold for the demo only; the table prints chance beside them.
"""

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from libretto.tokens.analysis import described_instruments, instruments_of, precision_recall_f1
from libretto.tokens.reference import valid_events
from libretto.tokens.vocab import DRUMS, EMBEDDING_ROWS, PITCHES
from tests.checkout import ROOT, dry_run
from tests.test_workflow import SYSTEMS as ROWS

RESULTS = ROOT / "results" / "demo"
MAJOR = [0, 2, 4, 5, 7, 9, 11]  # and its relative minor
VARIANTS = ["amt", "amt-weighted", "llama-1b", "llama-3b", "llama-3b-amt"]


def in_key_share(pitches):
    """The share of notes in the major scale that holds most of them."""
    counts = np.bincount(pitches % 12, minlength=12)
    return max(sum(counts[(tonic + step) % 12] for step in MAJOR) for tonic in range(12)) / counts.sum()


def own_minus_others(rows, described, rng):
    """Mean F1 of a sample's instruments with its own description, less that with the others', and a permutation's p."""
    sounding = [instruments_of(row["tokens"]) for row in rows]
    n = len(rows)
    f1 = np.array([[precision_recall_f1(sounding[i], described[j])[2] for j in range(n)] for i in range(n)])
    own = f1.trace() / n
    shuffled = [f1[np.arange(n), rng.permutation(n)].mean() for _ in range(5000)]
    return own - (f1.sum() - f1.trace()) / n / (n - 1), (1 + sum(share >= own for share in shuffled)) / 5001


@pytest.fixture(scope="module")
def music():
    """What can be said of each system's samples, a row each; printed as a table."""
    pairs = pq.read_table(RESULTS / "data/pairs.parquet", columns=["lmd_id", "instrument_summary"]).to_pylist()
    summaries = {pair["lmd_id"]: pair["instrument_summary"] for pair in pairs}
    found = []
    for system in ROWS:
        if system == "ground-truth-random-text":
            continue
        rng = np.random.default_rng(0)
        rows = pq.read_table(RESULTS / f"samples/{system}/tokens.parquet").to_pylist()
        keys, chance, instruments = [], [], []
        for row in rows:
            notes = valid_events(row["tokens"])[0][:, 2]
            instruments.append(len(set(notes // PITCHES)))
            pitches = notes[notes // PITCHES != DRUMS] % PITCHES
            if len(pitches) >= 8:
                keys.append(in_key_share(pitches))
                chance.append(in_key_share(rng.integers(0, PITCHES, len(pitches))))
        described = [described_instruments(summaries[row["prompt_lmd_id"]])[0] for row in rows]
        difference, p = own_minus_others(rows, described, rng)
        n_events, n_invalid = (sum(row[name] for row in rows) for name in ("n_events", "n_invalid"))
        found.append(
            {
                "system": system,
                "valid": n_events / (n_events + n_invalid),
                "median notes": np.median([row["n_events"] for row in rows]),
                "instruments": np.mean(instruments),
                "in key": np.mean(keys),
                "by chance": np.mean(chance),
                "F1 own - others": difference,
                "p": p,
            }
        )
    table = pd.DataFrame(found).set_index("system")
    print("\n" + table.round(3).to_string())
    return table


def test_table_has_the_eleven_rows_in_the_papers_order():
    assert list(pd.read_csv(RESULTS / "table.csv")["system"]) == ROWS


def test_nearly_all_events_of_amt_are_valid(music):
    assert (music.loc[ROWS[2:5], "valid"] > 0.9).all()


def test_most_events_of_llama_are_valid(music):
    assert (music.loc[ROWS[5:], "valid"] > 0.6).all()


def test_samples_are_long_enough_to_hear(music):
    assert (music["median notes"] >= 40).all()


def test_notes_keep_to_a_key(music):
    """Ground truth is nearly all in key; chance finds some scale for any notes."""
    assert (music["in key"] > music["by chance"] + 0.1).all()


def test_every_variant_learns_more_than_how_often_tokens_occur():
    """The loss on music is below that of a model that knows the frequencies of onsets, durations and notes alone."""
    counts = np.ones((3, EMBEDDING_ROWS))  # one more of each, so that none is impossible
    for tokens in chunks("train"):
        np.add.at(counts, (np.arange(len(tokens)) % 3, tokens), 1)
    surprise = -np.log(counts / counts.sum(axis=1, keepdims=True))
    baseline = np.concatenate([surprise[np.arange(len(tokens)) % 3, tokens] for tokens in chunks("valid")]).mean()
    print(f"\nfrequencies alone: {baseline:.3f}")
    for variant in VARIANTS:
        losses = pd.read_parquet(RESULTS / f"train/{variant}/log.parquet")["val_loss_music"]
        print(f"{variant}: {losses.min():.3f}")
        assert losses.min() < baseline - 0.5, variant


def chunks(split):
    """The tokens of a split's chunks, without the start token."""
    songs = pq.read_table(RESULTS / f"data/splits/{split}.parquet", columns=["chunks"]).to_pylist()
    return [np.array(chunk[1:]) for song in songs for chunk in song["chunks"]]


def test_a_second_call_has_nothing_to_do():
    assert "Nothing to be done" in dry_run(ROOT, "--profile", "demo")
