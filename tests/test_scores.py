import numpy as np
import pytest
from scipy import linalg

from libretto.scores.clap import clap_matrix, clap_score
from libretto.scores.frechet import (
    fad,
    fad_floor,
    fad_infinity,
    fad_sub,
    fads_per_sample,
    fads_without_one,
    frechet_distance,
)
from libretto.scores.mean import mean_and_sem, summarize
from libretto.scores.notes import (
    band_f1,
    constant_band,
    instrument_f1_matrix,
    note_scores,
)
from libretto.tokens.analysis import described_instruments, instruments_of, precision_recall_f1, time_scores
from libretto.tokens.vocab import DURATION_OFFSET, NOTE_OFFSET, PITCHES, SEPARATOR

RANDOM = np.random.default_rng(0)


def tokens(*instruments):
    return [token for i in instruments for token in (0, DURATION_OFFSET + 10, NOTE_OFFSET + PITCHES * i + 60)]


def textbook_distance(a, b):
    """The paper's formula, written as it is printed."""
    sigma_a, sigma_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = linalg.sqrtm(sigma_a @ sigma_b).real
    return ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(sigma_a + sigma_b - 2 * root)


def test_fad_sub_of_the_paper():
    """The five draws behind Table 3's 0.833 ± 0.025 (AMT, unconditional)."""
    mean, sem = mean_and_sem([0.786044, 0.856635, 0.778177, 0.830865, 0.912647])
    assert f"{mean:.3f} ± {sem:.3f}" == "0.833 ± 0.025"


def test_mean_and_sem_of_few_values():
    assert mean_and_sem([]) == (None, None)
    assert mean_and_sem([2.0]) == (2.0, None)
    assert mean_and_sem([1.0, 3.0]) == (2.0, 1.0)


def test_frechet_distance_is_the_formula():
    a = RANDOM.normal(size=(500, 12)) @ RANDOM.normal(size=(12, 12)) + 1
    b = RANDOM.normal(size=(300, 12)) @ RANDOM.normal(size=(12, 12))
    assert frechet_distance(a, b) == pytest.approx(textbook_distance(a, b), rel=1e-9)
    assert frechet_distance(b, a) == pytest.approx(frechet_distance(a, b), rel=1e-9)


def test_frechet_distance_of_known_gaussians():
    """In one dimension it is (difference of means)² + (difference of standard deviations)²."""
    a, b = np.array([[-1.0], [1.0]]), np.array([[2.0], [8.0]])
    expected = 5**2 + (a.std(ddof=1) - b.std(ddof=1)) ** 2
    assert frechet_distance(a, b) == pytest.approx(expected)


def test_frechet_distance_of_the_same_set_is_zero():
    a = RANDOM.normal(size=(200, 40)).astype(np.float32)
    assert abs(frechet_distance(a, a)) < 1e-9


def test_frechet_distance_with_fewer_rows_than_dimensions():
    """Covariances are singular there; the product's root must still be real and finite."""
    a, b = RANDOM.normal(size=(20, 128)), RANDOM.normal(size=(30, 128)) + 0.5
    assert frechet_distance(a, b) == pytest.approx(textbook_distance(a, b), rel=1e-4)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_frechet_distance_of_what_is_not_finite(value):
    a = RANDOM.normal(size=(20, 4))
    a[3, 2] = value
    with pytest.raises(ValueError, match="finite"):
        frechet_distance(a, RANDOM.normal(size=(20, 4)))


def test_frechet_distance_of_a_single_row():
    with pytest.raises(ValueError, match="two embeddings"):
        frechet_distance(np.zeros((1, 4)), np.zeros((5, 4)))


@pytest.fixture
def clips():
    return {index: RANDOM.normal(size=(3 + index % 4, 6)) for index in range(0, 60, 2)}


def test_fad_counts_every_stretch_of_every_clip(clips):
    reference = {0: RANDOM.normal(size=(80, 6)), 1: RANDOM.normal(size=(10, 6)) + 1}
    rows = np.concatenate(list(clips.values()))
    assert fad(clips, reference) == pytest.approx(textbook_distance(rows, np.concatenate(list(reference.values()))))


def test_fad_per_sample_is_the_formula_for_each_clip(clips):
    reference = {0: RANDOM.normal(size=(80, 6)), 1: RANDOM.normal(size=(10, 6)) + 1}
    found = fads_per_sample(clips | {61: np.zeros((1, 6))}, reference)
    rows = np.concatenate(list(reference.values()))
    assert found == pytest.approx({index: textbook_distance(own, rows) for index, own in clips.items()}, rel=1e-4)


def test_fad_sub_draws_whole_clips_without_replacement(clips, monkeypatch):
    drawn = []
    monkeypatch.setattr("libretto.scores.frechet.fad", lambda subset, reference: drawn.append(list(subset)) or 1.0)
    assert fad_sub(clips, clips, draws=5, size=20, seed=3) == [1.0] * 5
    assert all(len(set(subset)) == 20 and set(subset) <= set(clips) for subset in drawn)
    assert len({tuple(subset) for subset in drawn}) == 5


def test_fad_sub_follows_the_seed(clips):
    reference = {0: RANDOM.normal(size=(80, 6))}
    first = fad_sub(clips, reference, draws=5, size=10, seed=0)
    assert fad_sub(dict(reversed(clips.items())), reference, draws=5, size=10, seed=0) == first
    assert fad_sub(clips, reference, draws=5, size=10, seed=1) != first
    assert len(set(first)) == 5


def test_fad_sub_of_all_clips_is_fad(clips):
    reference = {0: RANDOM.normal(size=(80, 6))}
    assert fad_sub(clips, reference, 2, len(clips), 0) == pytest.approx([fad(clips, reference)] * 2)


def test_fad_sub_of_too_few_clips_is_not_measured(clips):
    assert fad_sub(clips, clips, draws=5, size=len(clips) + 1, seed=0) == []


def test_instruments_of_tokens():
    assert instruments_of(tokens(0, 48, 49, 128)) == {"Piano", "String Ensemble", "Drums"}
    assert instruments_of([SEPARATOR, 5, 5, *tokens(73)]) == {"Flute"}
    assert instruments_of([]) == set()


def test_described_instruments_in_either_spelling():
    summary = ["Acoustic Grand Piano", "piano", "Alto Sax", "Drums", "Lead 8 (bass + lead)", "Theremin"]
    assert described_instruments(summary) == ({"Piano", "Alto Saxophone", "Drums", "Brass Lead"}, ["Theremin"])


@pytest.mark.parametrize(
    ("sounding", "described", "expected"),
    [
        ("abc", "abc", (1, 1, 1)),
        ("ab", "bcd", (1 / 2, 1 / 3, 2 / 5)),
        ("a", "b", (0, 0, 0)),
        ("", "b", (0, 0, 0)),
    ],
)
def test_precision_recall_f1(sounding, described, expected):
    assert precision_recall_f1(set(sounding), set(described)) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("onsets", "expected"),
    [
        ([], (0, 1, 0)),
        ([50] * 64, (0, 1, 1)),
        ([50] * 65, (1, 1, 1)),  # time has stopped
        ([0, 199], (0, 1, 2)),
        ([300, 300, 500], (0, 0, 2)),
        ([*range(0, 1000, 10), *[1000] * 70], (1, 0, 101)),
    ],
)
def test_time_scores(onsets, expected):
    events = np.array([(onset, 10, 60) for onset in onsets], dtype=int).reshape(-1, 3)
    assert time_scores(events) == expected


SUMMARIES = {"a": ["Piano", "Theremin"], "b": ["Drums", "Flute"], "c": None, "d": ["Piano"]}
SAMPLES = [
    {"index": 0, "prompt_lmd_id": "a", "tokens": tokens(0, 73), "n_events": 2, "n_invalid": 2},
    {"index": 1, "prompt_lmd_id": "b", "tokens": tokens(128), "n_events": 1, "n_invalid": 0},
    {"index": 2, "prompt_lmd_id": "b", "tokens": [], "n_events": 0, "n_invalid": 0},
    {"index": 3, "prompt_lmd_id": "c", "tokens": tokens(1), "n_events": 1, "n_invalid": 0},
]


def test_note_scores():
    scores, counts = note_scores(SAMPLES, SUMMARIES)
    assert scores["notes_per_sample"] == {0: 2, 1: 1, 2: 0, 3: 1}
    assert scores["invalid_share"] == {0: 0.5, 1: 0, 3: 0}  # nothing was tried in the empty sample
    assert scores["crowded_share"] == dict.fromkeys(range(4), 0)
    assert scores["short_share"] == dict.fromkeys(range(4), 1)
    assert scores["onsets_per_sample"] == {0: 1, 1: 1, 2: 0, 3: 1}
    assert scores["instrument_precision"] == {0: 1 / 2, 1: 1, 2: 0}
    assert scores["instrument_recall"] == {0: 1, 1: 1 / 2, 2: 0}
    assert scores["instrument_f1"] == pytest.approx({0: 2 / 3, 1: 2 / 3, 2: 0})
    assert counts == {"n_instruments": 3, "n_unknown_instrument_names": 1}


def test_instrument_f1_with_all_descriptions():
    matrix = instrument_f1_matrix(SAMPLES, SUMMARIES)
    sounding = [{"Piano", "Flute"}, {"Drums"}, set()]
    described = [{"Piano"}, {"Drums", "Flute"}, {"Drums", "Flute"}]
    expected = [[precision_recall_f1(heard, wanted)[2] for wanted in described] for heard in sounding]
    assert matrix == pytest.approx(np.array(expected))
    assert instrument_f1_matrix(SAMPLES[3:], SUMMARIES).shape == (0, 0)


def test_a_constant_band_is_the_floor_of_the_f1():
    summaries = [["Piano", "Drums"], ["Drums", "Flute"], ["Drums"], None, ["Theremin"], ["Violin", "Viola", "Cello"]]
    band = constant_band(summaries)
    assert band == {"Drums", "Cello", "Flute", "Piano", "Viola"}  # of those named once, the first by name
    assert band_f1(band, SAMPLES, SUMMARIES) == pytest.approx((2 / 6 + 4 / 7 + 4 / 7) / 3)
    assert band_f1(band, SAMPLES[3:], SUMMARIES) is None


def test_fad_without_each_clip_is_that_of_the_others():
    draws = np.random.default_rng(9)
    reference = {index: draws.normal(size=(5, 6)) for index in range(40)}
    clips = {index: draws.normal(100, 2, size=(1 + index, 6)).astype(np.float32) for index in range(12)}
    expected = {index: fad({i: rows for i, rows in clips.items() if i != index}, reference) for index in clips}
    assert fads_without_one(clips, reference) == pytest.approx(expected, rel=1e-9)
    assert fads_without_one({0: clips[0], 1: clips[1]}, reference).keys() == {0}
    assert fads_without_one({}, reference) == {}


def test_equal_clips_and_a_stray_one_have_each_a_fad_without_them():
    """Subtracted from the sums of all, the stray one would leave less than rounding errors."""
    draws = np.random.default_rng(11)
    reference = {index: draws.normal(size=(20, 16)) for index in range(40)}
    clips = dict.fromkeys(range(30), draws.normal(size=(1, 16))) | {30: draws.normal(1e4, 1e3, size=(90, 16))}
    expected = {index: fad({i: rows for i, rows in clips.items() if i != index}, reference) for index in clips}
    assert fads_without_one(clips, reference) == pytest.approx(expected, rel=1e-9)


def test_one_long_clip_far_away_is_most_of_a_fad():
    draws = np.random.default_rng(10)
    reference, clips = ({index: draws.normal(size=(9, 8)) for index in range(128)} for _ in range(2))
    clips[7] = draws.normal(4, 1, size=(90, 8))
    without = fads_without_one(clips, reference)
    assert min(without, key=without.get) == 7
    assert without[7] < 0.05 * fad(clips, reference)


def test_fad_infinity_removes_most_of_what_few_clips_add():
    """Equal distributions: FAD would be 0 with infinitely many."""
    draws = np.random.default_rng(8)
    reference = {index: draws.normal(size=(4, 16)) for index in range(2_000)}
    few = [{index: draws.normal(size=(4, 16)) for index in range(60)} for _ in range(10)]
    plain = np.mean([fad(clips, reference) for clips in few])
    extrapolated = np.mean([fad_infinity(clips, reference, seed) for seed, clips in enumerate(few)])
    assert abs(extrapolated) < plain / 4  # with replacement, it would be nearly `plain`
    assert fad_infinity(few[0], reference, 1) == fad_infinity(few[0], reference, 1)
    assert fad_infinity({0: draws.normal(size=(9, 16))}, reference, 1) is None


def test_the_floor_of_fad_is_small_and_falls_with_the_number_of_clips():
    draws = np.random.default_rng(7)
    reference = {index: draws.normal(size=(4, 6)) for index in range(200)}
    few, many = (fad_floor(reference, n, 5, 0) for n in (10, 100))
    assert 0 < many < few
    assert fad_floor(reference, 1000, 5, 0) == many  # half of the set at most
    shifted = {index: rows + 1 for index, rows in reference.items()}
    assert fad(shifted, reference) > 20 * many
    assert fad_floor({0: reference[0], 1: reference[1]}, 5, 5, 0) is None


def test_clap_with_all_descriptions():
    draws = np.random.default_rng(0)
    clips = [draws.normal(size=(k, 8)) for k in (1, 3, 2)]
    texts = draws.normal(size=(3, 8))
    expected = [[clap_score(windows, text) for text in texts] for windows in clips]
    assert clap_matrix(clips, texts) == pytest.approx(np.array(expected))


def test_a_summary_has_mean_sem_and_interval():
    values = [0.0, 1.0, 1.0, 2.0, 3.0, 2.0, 1.0, 0.0]
    found = summarize("x", values, 0)
    assert found.keys() == {"x", "x_sem", "x_low", "x_high"}
    assert (found["x"], found["x_sem"]) == mean_and_sem(values)
    assert found["x_low"] < found["x"] < found["x_high"]
    assert set(summarize("x", [], 0).values()) == {None}


def test_clap_score_is_the_mean_of_the_windows_cosines():
    text = np.array([1.0, 0.0])
    assert clap_score(np.array([[0.6, 0.8]]), text) == pytest.approx(0.6)
    # The cosine of the windows' mean direction would be 0.707: more for clips with more windows.
    assert clap_score(np.array([[1.0, 0.0], [0.0, 1.0]]), text) == pytest.approx(0.5)


def test_clap_score_is_what_a_random_window_scores_on_average():
    """The authors score one random window of each clip: the mean over many draws converges to our score."""
    windows = RANDOM.normal(size=(3, 512)) + 2 * RANDOM.normal(size=512)
    windows /= np.linalg.norm(windows, axis=1, keepdims=True)
    text = windows[0]
    theirs = [windows[k] @ text for k in RANDOM.integers(3, size=20_000)]
    assert clap_score(windows, text) == pytest.approx(np.mean(theirs), abs=5e-3)
