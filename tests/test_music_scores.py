"""Scores of the music alone: against muspy's and music21's on real files, and by hand."""

import json

import numpy as np
import pytest

from libretto.report.table import METRICS, MUSIC_SCORES
from libretto.scores import music
from libretto.scores.music import (
    key_matrix,
    music_distance,
    music_scores,
    scores_by_name,
)
from libretto.scores.tempo import tempo_matches
from libretto.tokens.analysis import estimate_key, estimate_tempo, parse_key, same_key, tempo_bin
from libretto.tokens.compiled import midi_to_tokens_compiled
from libretto.tokens.vocab import DRUMS, DURATION_OFFSET, NOTE_OFFSET, PITCHES
from tests.realmidi import FOLDER, midi_files
from tests.realmidi import captions as real_captions

N_TOKENS = 4500  # of each real file


def tokens_of(*notes):
    """Tokens of (onset, duration, instrument, pitch), in ticks."""
    return [
        token
        for onset, duration, instrument, pitch in notes
        for token in (onset, DURATION_OFFSET + duration, NOTE_OFFSET + PITCHES * instrument + pitch)
    ]


@pytest.fixture(scope="module")
def real():
    """The tokens of the real files in music.json, and what muspy 0.5.0 and music21 10.5.1 found in them."""
    expected = json.loads((FOLDER / "music.json").read_text())
    files = dict(midi_files())
    return {name: (midi_to_tokens_compiled(files[name]).tolist()[:N_TOKENS], found) for name, found in expected.items()}


def test_scores_are_muspys_and_keys_are_music21s(real):
    assert len(real) == 59
    for name, (tokens, expected) in real.items():
        scores = music_scores(tokens)
        for score in ("polyphony", "pitch_class_entropy", "scale_consistency"):
            assert scores[score] == pytest.approx(expected[score], abs=1e-6), (name, score)
        assert estimate_key(tokens) == parse_key(expected["key"]), name


def test_scores_by_hand():
    # C for 2 s, with E from 1 s; a drum 3 s later, which lasts 1 s.
    tokens = tokens_of((0, 200, 0, 60), (100, 100, 0, 64), (500, 100, DRUMS, 36))
    assert music_scores(tokens) == pytest.approx(
        {"duration_s": 6, "notes_per_s": 0.5, "polyphony": 1.5, "pitch_class_entropy": 1, "scale_consistency": 1}
    )
    assert music_scores([]) == {}
    assert music_scores(tokens_of((0, 100, DRUMS, 36))) == {"duration_s": 1, "notes_per_s": 1}
    assert "polyphony" not in music_scores(tokens_of((0, 0, 0, 60)))  # nothing sounds
    assert estimate_key(tokens_of((0, 0, 0, 60))) is None
    assert estimate_key([]) is None


def test_keys_by_name():
    assert parse_key("F# minor") == (6, "minor")
    assert parse_key("Bb major") == parse_key("A# major") == (10, "major")
    assert parse_key("H major") is parse_key(None) is parse_key("atonal") is None
    assert same_key((9, "minor"), (0, "major"))  # A minor is the relative of C major
    assert not same_key((0, "minor"), (0, "major"))
    assert not same_key(None, (0, "major"))


def scale(tonic, start=0):
    """A major scale up to its octave and back to its fifth."""
    pitches = [60 + tonic + step for step in (0, 2, 4, 5, 7, 9, 11, 12, 7, 4, 0)]
    return tokens_of(*((start + 50 * i, 50, 0, pitch) for i, pitch in enumerate(pitches)))


def test_music_in_its_descriptions_key_is_found():
    samples = [
        {"index": i, "tokens": scale(tonic), "prompt_lmd_id": name}
        for i, (tonic, name) in enumerate([(0, "c"), (2, "d"), (7, "c"), (0, "?")])
    ]
    keys = {"c": "C major", "d": "D major", "?": None}
    found = scores_by_name(samples, keys)
    assert found["key_match"] == {0: 1.0, 1: 1.0, 2: 0.0}
    np.testing.assert_array_equal(key_matrix(samples, keys), [[1, 0, 1], [0, 1, 0], [0, 0, 0]])
    assert key_matrix([], keys).shape == (0, 0)


def beats(bpm, n=32):
    """A drum on every beat, a hi-hat between two."""
    step = 60 * 100 / bpm / 2
    return tokens_of(*((round(step * i), 10, DRUMS, 42 if i % 2 else 36) for i in range(2 * n)))


@pytest.mark.parametrize("bpm", [100, 120, 150])  # of 75 it says 150
def test_the_tempo_of_a_plain_beat(bpm):
    assert estimate_tempo(beats(bpm)) == pytest.approx(bpm, rel=0.02)


@pytest.mark.xdist_group("embeddings")  # others there use librosa too, whose first use compiles it
def test_the_tempo_is_librosas(real):
    import librosa

    for tokens, _ in [*real.values()][::6]:
        onsets = np.array(tokens[:450:3])
        counts = np.bincount(onsets - onsets.min()).astype(float)
        (expected,) = librosa.feature.tempo(onset_envelope=counts, sr=100, hop_length=1)
        assert estimate_tempo(tokens[:450]) == pytest.approx(expected)


def test_what_has_no_tempo():
    assert estimate_tempo([]) is None
    assert estimate_tempo(tokens_of(*((0, 10, 0, 60) for _ in range(70)))) is None  # time has stopped
    assert tempo_bin(None) == -1


def test_tempo_bins_are_those_of_the_tempo_words():
    """As MidiCaps' `tempo_word` has them."""
    assert [tempo_bin(tempo) for tempo in (39.9, 40, 59, 60, 80, 109, 110, 139, 140, 185, 210, 300)] == [
        *(0, 1, 1, 2, 3, 4, 5, 5, 6, 7, 8, 8)
    ]


def test_music_in_its_descriptions_tempo_is_found():
    pieces = [(beats(100), "a"), (beats(150), "b"), (beats(150), "a"), (beats(100), "?"), ([], "b")]
    samples = [{"index": i, "tokens": t, "prompt_lmd_id": name} for i, (t, name) in enumerate(pieces)]
    indices, matches = tempo_matches(samples, {"a": 104, "b": 147, "?": None})
    assert indices == [0, 1, 2, 4]
    np.testing.assert_array_equal(matches, [[1, 0, 1, 0], [0, 1, 0, 1], [0, 1, 0, 1], [0, 0, 0, 0]])
    assert tempo_matches([], {})[1].shape == (0, 0)


def test_real_music_has_its_own_tempo_more_often_than_that_of_others(real):
    """The tempo of the files' own events, which tokens do not have. Most that are missed are off by 1:2, 2:3 or 3:4."""
    tempos = {name: row["tempo"] for name, row in real_captions().items()}
    samples = [
        {"index": i, "tokens": tokens[:450], "prompt_lmd_id": name}
        for i, (name, (tokens, _)) in enumerate(real.items())
        if name in tempos
    ]
    _, matches = tempo_matches(samples, tempos)
    own = matches.diagonal().mean()
    others = (matches.sum() - matches.trace()) / (len(matches) * (len(matches) - 1))
    print(len(matches), own, others)
    assert own > others + 0.15


def test_the_distance_sees_what_log_mel_fad_does_not(real):
    """10 % of all notes transposed by a tritone: FAD (logmel) was 0.118 with them and 0.123 without."""

    def by_name(pieces):
        rows = [{"index": i, "tokens": tokens, "prompt_lmd_id": ""} for i, tokens in enumerate(pieces)]
        return {name: [*values.values()] for name, values in scores_by_name(rows, {"": None}).items()}

    def transposed(tokens, share):
        changed = np.array(tokens).reshape(-1, 3)
        melodic = (changed[:, 2] - NOTE_OFFSET) // PITCHES != DRUMS
        chosen = melodic & (np.random.default_rng(0).random(len(changed)) < share)
        pitches = (changed[:, 2] - NOTE_OFFSET) % PITCHES
        changed[chosen, 2] += np.where(pitches[chosen] < 64, 6, -6)
        return changed.flatten().tolist()

    pieces = [tokens for tokens, _ in real.values()]
    first, second = pieces[::2], pieces[1::2]
    reference = by_name(first)
    steps = {"the same": first, "other pieces": second}
    steps |= {f"{share:.0%} transposed": [transposed(tokens, share) for tokens in first] for share in (0.1, 0.3, 1.0)}
    steps["random pitches"] = [
        [t if i % 3 < 2 else NOTE_OFFSET + int(p) for i, (t, p) in enumerate(zip(tokens, pitches, strict=True))]
        for tokens in first
        for pitches in [np.random.default_rng(1).integers(0, PITCHES, len(tokens))]
    ]
    distances = {name: music_distance(by_name(music), reference) for name, music in steps.items()}
    print({name: round(distance, 3) for name, distance in distances.items()})
    assert distances["the same"] == 0
    assert distances["100% transposed"] < 0.1  # as they should be: the intervals are the same
    rising = ("the same", "other pieces", "10% transposed", "30% transposed", "random pitches")
    assert [distances[name] for name in rising] == sorted(distances[name] for name in rising)


def test_the_distance_by_hand():
    reference = {name: [0.0, 2.0] for name in MUSIC_SCORES}
    assert music_distance(reference, reference) == 0
    moved = {name: [1.0, 3.0] for name in MUSIC_SCORES}
    assert music_distance(moved, reference) == 1  # of a standard deviation
    assert music_distance({name: [] for name in MUSIC_SCORES}, reference) is None


def test_the_table_has_all_of_them():
    assert music.MUSIC_SCORES == MUSIC_SCORES
    assert {"key_match", "key_match_own_minus_others_p", "music_distance", "polyphony_high"} <= set(METRICS)
