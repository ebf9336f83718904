"""The best of several candidates: what counts, by hand, and that no failed sample wins by accident."""

import pytest

from libretto.config.systems import systems
from libretto.generation.selection import agreement, keep_best
from libretto.tokens.vocab import DRUMS, SEPARATOR
from tests.test_music_scores import tokens_of

NOTHING = {"instrument_summary": None, "key": None, "tempo": None}
WALTZ = {"instrument_summary": ["Acoustic Grand Piano", "Drums", "Theremin"], "key": "A minor", "tempo": 120}
SCALE = (60, 62, 64, 65, 67, 69, 71, 72)  # C major, and so its relative, A minor


def piece(instrument=0, apart=25, root=0, repeat=2):
    """A C major scale of eighths of 120, `root` semitones higher, which sounds for four seconds."""
    pitches = [pitch + root for pitch in SCALE] * repeat
    return tokens_of(*((apart * i, apart, instrument, pitch) for i, pitch in enumerate(pitches)))


DRUM = tokens_of((0, 10, DRUMS, 36))


@pytest.mark.parametrize(
    ("tokens", "description", "expected"),
    [
        (DRUM + piece(), WALTZ, 1 + 1 + 1),
        (piece(), WALTZ, 2 / 3 + 1 + 1),  # F1 of one of two
        (piece(instrument=40), WALTZ, 0 + 1 + 1),
        (piece(root=1), WALTZ, 2 / 3 + 0 + 1),
        (piece(apart=30), WALTZ, 2 / 3 + 1 + 0),  # a tempo of 100
        (piece(), WALTZ | {"key": None}, 2 / 3 + 1),
        (piece(), WALTZ | {"tempo": 0, "instrument_summary": ["Theremin"], "key": "unknown"}, 0),
        (piece(), NOTHING, 0),
    ],
)
def test_agreement_by_hand(tokens, description, expected):
    assert agreement(tokens, description) == (True, pytest.approx(expected))


@pytest.mark.parametrize(
    "failed",
    [
        [],
        piece(apart=1),  # all within two seconds
        DRUM * 65 + piece(),  # 65 notes at once
        DRUM + piece() + [SEPARATOR, 5, 5] * 18,  # of 35 events, 18 are invalid
    ],
    ids=["empty", "short", "crowded", "invalid"],
)
def test_a_failed_sample_does_not_win_however_well_it_agrees(failed):
    wrong = piece(instrument=40, root=1, apart=30)
    assert agreement(wrong, WALTZ) == (True, 0)
    assert not agreement(failed, WALTZ)[0]
    assert list(keep_best([(failed, "length"), (wrong, "length")], [WALTZ], 2)) == [(wrong, "length", 1)]
    assert list(keep_best([(failed, "length"), ([], "length")], [NOTHING], 2)) == [(failed, "length", 0)]


def test_each_description_gets_its_best_and_of_equals_the_first():
    sampled = [piece(), DRUM + piece(), piece(40), piece(1), piece(2), piece(0)]
    kept = keep_best([(tokens, str(i)) for i, tokens in enumerate(sampled)], [WALTZ, WALTZ | NOTHING], 3)
    assert [(stop, candidate) for _, stop, candidate in kept] == [("1", 1), ("3", 0)]
    # Programs 0, 1 and 2 are all a piano to MidiCaps, but the third piece's key is another one.
    sampled = [piece(0, root=1), piece(1), piece(0)]
    assert [candidate for *_, candidate in keep_best([(tokens, "") for tokens in sampled], [WALTZ], 3)] == [1]


def test_a_row_has_its_own_number_of_candidates(config):
    assert {row.best_of for row in systems(config).values()} == {1}
    config["sampling"]["best_of"] = 2
    config["variants"]["llama-1b"]["sampling"] = {"best_of": 3}
    config["systems"] = {
        "more": {"variant": "llama-1b", "temperature": 1.0, "sampling": {"best_of": 4}},
        "copy": {"control": "training-copy", "share": 1.0},
    }
    found = {name: row.best_of for name, row in systems(config).items()}
    assert [found[name] for name in ("ground-truth", "amt-t1.0", "llama-1b-t1.1", "more", "copy")] == [1, 2, 3, 4, 1]
