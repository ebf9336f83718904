"""Controls: each is what it says, note by note; and the scores see it."""

import numpy as np
import pytest
import yaml

from libretto.config.systems import systems
from libretto.errors import InputError
from libretto.scores.controls import control_pieces
from libretto.scores.notes import constant_band, instrument_f1_matrix
from libretto.tokens.analysis import instruments_of
from libretto.tokens.instruments import INSTRUMENT_NAMES
from libretto.tokens.reference import events_to_tokens, valid_events
from libretto.tokens.vocab import AUTOREGRESS, DRUMS, PITCHES
from tests.checkout import ROOT

NAMES = list(dict.fromkeys(INSTRUMENT_NAMES))


def song(number, programs, draws):
    """A song of three chunks, each instrument with ten notes."""

    def chunk():
        events = [(10 * i, 5, PITCHES * p + int(draws.integers(30, 80))) for i in range(10) for p in programs]
        return [AUTOREGRESS, *events_to_tokens(np.array(events)).tolist()]

    return {"lmd_id": f"{number:032x}", "caption": f"song {number}", "chunks": [chunk() for _ in range(3)]}


@pytest.fixture(scope="module")
def songs():
    """Training songs, test songs, and the pairs' rows of both: descriptions name what sounds."""
    draws = np.random.default_rng(0)
    bands = [[*draws.choice(DRUMS, 3, replace=False).tolist(), *([DRUMS] if i % 2 else [])] for i in range(80)]
    every = [song(i, band, draws) for i, band in enumerate(bands)]
    pairs = [
        {
            "lmd_id": row["lmd_id"],
            "split": "train" if i < 40 else "test",
            "instrument_summary": sorted({INSTRUMENT_NAMES[p] for p in band}),
        }
        for i, (row, band) in enumerate(zip(every, bands, strict=True))
    ]
    return every[:40], every[40:], pairs


def pieces_of(control, songs, share=1.0, seed=0):
    return list(control_pieces(control, *songs, share, seed))


def test_copies_are_the_training_songs_middle_chunks(songs):
    assert pieces_of("training-copy", songs) == [row["chunks"][1][1:] for row in songs[0]]


def test_a_constant_band_is_constant(songs):
    _, test, pairs = songs
    band = constant_band(row["instrument_summary"] for row in pairs if row["split"] == "train")
    assert len(band) == 5
    for row, piece in zip(test, pieces_of("constant-band", songs), strict=True):
        assert instruments_of(piece) == band
        own, given = valid_events(row["chunks"][1])[0], valid_events(piece)[0]
        assert np.array_equal(own[:, :2], given[:, :2])
        assert np.array_equal(own[:, 2] % PITCHES, given[:, 2] % PITCHES)


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 1.0])
def test_wrong_instruments_are_wrong_and_the_rest_is_kept(songs, share):
    _, test, pairs = songs
    described = {row["lmd_id"]: set(row["instrument_summary"]) for row in pairs}
    kept = total = 0
    for row, piece in zip(test, pieces_of("wrong-instruments", songs, share), strict=True):
        own, given = valid_events(row["chunks"][1])[0], valid_events(piece)[0]
        assert np.array_equal(own % (10**9, 10**9, PITCHES), given % (10**9, 10**9, PITCHES))
        for old in np.unique(own[:, 2] // PITCHES):
            new = set((given[:, 2] // PITCHES)[own[:, 2] // PITCHES == old].tolist())
            assert len(new) == 1  # all notes of an instrument go to one other
            is_kept = new == {old}
            assert is_kept or INSTRUMENT_NAMES[new.pop()] not in described[row["lmd_id"]]
            kept, total = kept + is_kept, total + 1
    assert kept / total == pytest.approx(1 - share, abs=0.1)
    assert pieces_of("wrong-instruments", songs, share) == pieces_of("wrong-instruments", songs, share)
    if 0 < share < 1:
        assert pieces_of("wrong-instruments", songs, share, seed=1) != pieces_of("wrong-instruments", songs, share)


def test_f1_falls_with_the_share(songs):
    _, test, pairs = songs
    summaries = {row["lmd_id"]: row["instrument_summary"] for row in pairs}
    means = []
    for share in (0.0, 0.25, 0.5, 1.0):
        pieces = pieces_of("wrong-instruments", songs, share)
        rows = [
            {"index": i, "prompt_lmd_id": row["lmd_id"], "tokens": piece}
            for i, (row, piece) in enumerate(zip(test, pieces, strict=True))
        ]
        means.append(np.diag(instrument_f1_matrix(rows, summaries)).mean())
    assert (means[0], means[-1]) == (1, 0)
    assert means == pytest.approx([1, 0.75, 0.5, 0], abs=0.08)


def test_rows_of_a_variant_and_controls():
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    config["systems"] = {
        "guided": {"variant": "amt", "temperature": 0.9, "sampling": {"guidance": 2.0}},
        "band": {"control": "constant-band", "share": 1.0, "label": "A band"},
    }
    *_, guided, band = systems(config).values()
    assert (guided.kind, guided.variant, guided.temperature, guided.sampling) == (
        "variant",
        "amt",
        0.9,
        {"guidance": 2.0},
    )
    assert (band.kind, band.label, band.variant, band.temperature) == ("control", "A band", None, None)
    assert (band.is_sampled, band.has_fad, guided.is_sampled) == (False, True, True)
    config["systems"]["guided"]["variant"] = "amt-small"
    with pytest.raises(InputError, match="there is no variant amt-small; there are: amt, amt-weighted"):
        systems(config)
