import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from itertools import combinations

import numpy as np
import pandas as pd
import pytest

from libretto.config.systems import System
from libretto.report.listening import (
    N_COLOURS,
    Music,
    add_samples,
    by_sample,
    choose_samples,
    colour_classes,
    features_of,
    find_extremes,
    scores_of,
)
from libretto.report.piano_roll import piano_roll
from libretto.report.presentation import page_values
from libretto.report.table import METRICS, PAPER_COLUMNS
from libretto.report.templates import render_template
from libretto.tokens.vocab import DRUMS, DURATION_OFFSET, NOTE_OFFSET

PIANO, VIOLIN = 0, 40
GROUND_TRUTH = System("ground-truth", "ground-truth", "Baselines", "Ground truth")
RANDOM = System("ground-truth-random-text", "random-text", "Baselines", "Ground truth (random text)")
LLAMA = System("llama-1b-t1.1", "variant", "Llama LLMs", "1B <w/o> AMT embed init", "llama-1b", 1.1)
SYSTEMS = [GROUND_TRUTH, RANDOM, LLAMA]


def event(onset, duration, instrument, pitch):
    return [onset, DURATION_OFFSET + duration, NOTE_OFFSET + 128 * instrument + pitch]


def samples_of(order, tokens):
    """Rows of tokens.parquet: the music of songs a, b, c with the descriptions of the songs in `order`."""
    return pd.DataFrame(
        {
            "index": range(3),
            "lmd_id": list("abc"),
            "prompt": [f"description <{name}>" for name in order],
            "prompt_lmd_id": list(order),
            "tokens": tokens,
            "n_events": [len(row) // 3 for row in tokens],
            "n_invalid": [0, 1, 0],
        }
    )


@pytest.fixture
def samples():
    music = [event(0, 50, PIANO, 60), event(100, 50, DRUMS, 36), event(0, 10, VIOLIN, 70)]
    silence = [[7, 7, 7], event(0, 10, VIOLIN, 70), []]
    return {
        GROUND_TRUTH.name: samples_of("abc", music),
        RANDOM.name: samples_of("bca", music),
        LLAMA.name: samples_of("abc", silence),
    }


@pytest.fixture
def pairs():
    return pd.DataFrame(
        {
            "lmd_id": list("cab"),
            "genre": [["pop"]] * 3,
            "mood": [["happy", "dark"]] * 3,
            "key": ["C major"] * 3,
            "time_signature": ["4/4"] * 3,
            "tempo": [120] * 3,
            "tempo_word": ["Vivace"] * 3,
            "instrument_summary": [["Piano"], ["Acoustic Grand Piano", "Piano", "Drums"], ["Violin"]],
        }
    )


def test_roll_starts_at_the_first_onset_and_keeps_drums_apart():
    events = np.array([[500, 100, 128 * PIANO + 60], [600, 0, 128 * PIANO + 64], [550, 20, 128 * DRUMS + 36]])
    roll = piano_roll(events, {"Piano": "c0", "Drums": "drums"})
    assert roll.width == 101  # a note of zero length has one tick
    paths = dict(roll.paths)
    starts = {name: [tuple(map(int, xy)) for xy in re.findall(r"M(\d+) (\d+)", path)] for name, path in paths.items()}
    (x1, y1), (x2, y2) = starts["c0"]
    assert (x1, x2, y1 - y2) == (0, 100, 4)  # four semitones lower is four rows further down
    ((x3, y3),) = starts["drums"]
    assert x3 == 50
    assert y1 < roll.drum_line < y3 < roll.height


def test_roll_of_nothing_and_of_drums_alone():
    assert piano_roll(np.empty((0, 3), int), {}) is None
    roll = piano_roll(np.array([[0, 10, 128 * DRUMS + 36], [10, 10, 128 * DRUMS + 42]]), {"Drums": "drums"})
    assert [colour for colour, _ in roll.paths] == ["drums"]


def test_wanted_instruments_get_the_first_colours():
    heard = Counter({"Flute": 3, "Piano": 9, "Drums": 99})
    assert colour_classes(["Violin", "Drums"], heard) == {
        "Violin": "c0",
        "Piano": "c1",
        "Flute": "c2",
        "Drums": "drums",
    }
    many = colour_classes([], Counter({f"instrument {i}": 1 for i in range(20)}))
    assert sorted(set(many.values())) == [*(f"c{i}" for i in range(N_COLOURS)), "drums"]


def test_prompts_are_the_first_ones_and_samples_are_found_by_prompt(samples, pairs):
    (first, places), (second, _) = choose_samples(samples, pairs, SYSTEMS, 2)
    assert (first.number, first.lmd_id, first.text) == (1, "a", "description <a>")
    assert first.wanted == ["Piano", "Drums"]  # General MIDI's spelling and a repetition are merged
    assert ("Mood", "happy, dark") in first.facts
    assert places == {GROUND_TRUTH.name: 0, RANDOM.name: 2, LLAMA.name: 0}
    assert second.lmd_id == "b"


def test_prompts_are_those_of_what_is_sampled_where_the_ground_truth_has_none_of_them(samples, pairs):
    samples[GROUND_TRUTH.name]["prompt_lmd_id"] = samples[RANDOM.name]["prompt_lmd_id"] = ["x", "y", "z"]
    (first, places), (second, _) = choose_samples(samples, pairs, SYSTEMS, 2)
    assert (first.text, places, second.lmd_id) == ("description <a>", {LLAMA.name: 0}, "b")


def test_fields_that_midicaps_does_not_have_are_left_out(samples, pairs):
    empty = pairs.astype(object)
    empty.loc[:, empty.columns != "lmd_id"] = None
    empty["key"] = "C major"
    ((prompt, _),) = choose_samples(samples, empty, SYSTEMS, 1)
    assert prompt.facts == [("Key", "C major")]
    assert prompt.wanted == []


def test_samples_say_what_was_wanted_and_heard(samples, pairs):
    ((prompt, places),) = choose_samples(samples, pairs, SYSTEMS, 1)
    rows = {system: samples[system].iloc[place] for system, place in places.items()}
    links = {system: {"audio": f"{system}.flac"} for system in rows} | {LLAMA.name: {}}
    add_samples(prompt, rows, SYSTEMS, links, dict.fromkeys(rows, (0.0, 1.0)))
    truth, random, llama = prompt.samples
    assert [(i.name, i.state) for i in truth.instruments] == [
        ("Piano", "wanted, heard"),
        ("Drums", "wanted, not heard"),
    ]
    assert [(i.name, i.state) for i in random.instruments][-1] == ("Violin", "not asked for")
    assert "another song" in random.note
    assert random.unlisted == []
    assert llama.audio is None
    assert llama.roll is None


def test_the_playhead_begins_where_the_audio_does(samples, pairs):
    ((prompt, _),) = choose_samples(samples, pairs, [GROUND_TRUTH], 1)
    row = samples[GROUND_TRUTH.name].iloc[0].copy()
    row["tokens"] = event(300, 50, PIANO, 60)
    # The roll begins with the note, at 3 s; the audio starts at 3.02 s of the music.
    add_samples(
        prompt, {GROUND_TRUTH.name: row}, [GROUND_TRUTH], {GROUND_TRUTH.name: {}}, {GROUND_TRUTH.name: (3.02, 9.0)}
    )
    (sample,) = prompt.samples
    assert sample.heard == pytest.approx((0.02, 6.0))
    assert sample.silent_parts == [(0, 2)]  # ticks; the audio outlasts the roll, by the reverberation


def test_a_long_list_of_unwanted_instruments_is_cut(samples, pairs):
    ((prompt, _),) = choose_samples(samples, pairs, [GROUND_TRUTH], 1)
    row = samples[GROUND_TRUTH.name].iloc[0].copy()
    row["tokens"] = [t for program in (40, 41, 42, 43, 56, 57, 58, 60, 60) for t in event(0, 10, program, 60)]
    add_samples(
        prompt, {GROUND_TRUTH.name: row}, [GROUND_TRUTH], {GROUND_TRUTH.name: {}}, {GROUND_TRUTH.name: (0.0, 1.0)}
    )
    (sample,) = prompt.samples
    listed = [instrument.name for instrument in sample.instruments if not instrument.wanted]
    assert listed == ["French Horn", "Cello", "Contrabass", "Trombone", "Trumpet", "Tuba"]
    assert sample.unlisted == ["Viola", "Violin"]


def score_rows(score, values):
    """Rows of scores.parquet of system `a`, a sample each."""
    return pd.DataFrame([{"system": "a", "index": i, "score": score, "value": v} for i, v in enumerate(values)])


def test_a_samples_scores_have_their_place_among_its_systems():
    others = score_rows("clap", [1.0]).assign(system="b")
    scores = by_sample(pd.concat([score_rows("clap", [0.25, 0.75, 0.25]), others, score_rows("n_events", [3.0])]))
    assert scores_of(scores, "a", 0) == [("CLAP", "0.25, rank 2 to 3 of 3")]
    assert scores_of(scores, "a", 1) == [("CLAP", "0.75, rank 1 of 3")]
    assert scores_of(scores, "a", 9) == []


def test_key_and_tempo_are_met_or_missed_where_that_was_measured(samples, pairs):
    ((prompt, places),) = choose_samples(samples, pairs, [GROUND_TRUTH], 1)
    text = "In C major, at a Vivace pace of 120 BPM, for drums."
    prompt = replace(prompt, text=text)
    rows = {GROUND_TRUTH.name: samples[GROUND_TRUTH.name].iloc[places[GROUND_TRUTH.name]]}
    table = pd.concat([score_rows("key_match", [1.0, 0.0]), score_rows("tempo_match", [0.0])])
    scores = by_sample(table.assign(system=GROUND_TRUTH.name))
    add_samples(prompt, rows, [GROUND_TRUTH], {GROUND_TRUTH.name: {}}, {GROUND_TRUTH.name: (0.0, 1.0)}, scores)
    (sample,) = prompt.samples
    assert sample.met == {"Piano": True, "Drums": False, "Key": True, "Tempo": False}
    assert features_of(scores, GROUND_TRUTH.name, 1) == {"Key": False}
    marked = [(piece, name) for piece, name in prompt.marked_text if name]
    assert marked == [("C major", "Key"), ("Vivace", "Tempo"), ("120 BPM", "Tempo"), ("drums", "Drums")]
    assert "".join(piece for piece, _ in prompt.marked_text) == text


@pytest.mark.parametrize(
    ("scores", "heading", "best", "worst"),
    [
        ({"instrument_f1": [0.1, 0.9, 0.5]}, "Instr. F1", [2], [1]),
        ({"instrument_f1": [0.1, 0.9, 0.5], "clap": [0.3, 0.1, 0.2]}, "CLAP", [1], [2]),
        ({"clap": [0.5] * 12}, "CLAP", [1, 2, 3, 4, 5], [12, 11, 10, 9, 8]),  # equal ones: from either end
    ],
)
def test_the_best_and_the_worst_are_found_and_can_be_played(scores, heading, best, worst, samples, pairs, tmp_path):
    rows = samples[GROUND_TRUTH.name]
    rows = pd.concat([rows] * 4, ignore_index=True).assign(index=range(12))
    for name in ("midi", "audio"):
        (tmp_path / name).mkdir()
    (tmp_path / "audio/0001.flac").write_bytes(b"sound")
    music = Music(rows, tmp_path / "midi", tmp_path / "audio", {})
    table = pd.concat([score_rows(name, values) for name, values in scores.items()]).assign(system=GROUND_TRUTH.name)
    folder = tmp_path / "report/samples"
    found = find_extremes(GROUND_TRUTH, music, pairs, folder, by_sample(table))
    assert found.score == heading
    assert [prompt.number for prompt in found.best] == best  # of the test set's descriptions, from 1
    assert [prompt.number for prompt in found.worst] == worst
    played = {prompt.number: prompt.samples[0].audio for prompt in [*found.best, *found.worst]}
    assert played[2] == "samples/ground-truth/0001.flac"
    assert (folder / "ground-truth/0001.flac").read_bytes() == b"sound"
    assert found.best[0].text == rows["prompt"][best[0] - 1]


def test_without_scores_there_is_no_best(samples, pairs, tmp_path):
    music = Music(samples[GROUND_TRUTH.name], tmp_path, tmp_path, {})
    assert find_extremes(GROUND_TRUTH, music, pairs, tmp_path, {}) is None


# What is seen without one kind of cone, of linear RGB (Machado, Oliveira and Fernandes, 2009, severity 1).
VISION = {
    "normal": np.eye(3),
    "no red": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "no green": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "no blue": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def lab(colour, vision):
    """CIELAB under D65 of a colour such as #767676."""
    srgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = VISION[vision] @ np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    x, y, z = (np.cbrt(v) if v > 0.008856 else 7.787 * v + 16 / 116 for v in to_xyz @ linear / (0.9505, 1, 1.089))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("vision", VISION)
def test_any_two_colours_of_a_piano_roll_are_told_apart_with_any_vision(vision, request):
    style = (request.config.rootpath / "workflow/templates/style.css").read_text()
    found = re.findall(r"--(c\d|drums): (#\w{6})", style)
    assert [name for name, _ in found] == 2 * [*(f"c{i}" for i in range(N_COLOURS)), "drums"]
    for scheme in (found[: N_COLOURS + 1], found[N_COLOURS + 1 :]):
        seen = [lab(colour, vision) for _, colour in scheme]
        # A difference of 2.3 can just be noticed (Mahy, Van Eycken and Oosterlinck, 1994).
        assert min(np.linalg.norm(a - b) for a, b in combinations(seen, 2)) > 15


class Collector(HTMLParser):
    """Every tag with its attributes; closed tags are matched."""

    VOID = frozenset({"meta", "input", "img", "path", "br", "hr", "link"})

    def __init__(self):
        super().__init__()
        self.tags, self.open = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag


@pytest.fixture
def page(samples, pairs, request):
    prompts = []
    for prompt, places in choose_samples(samples, pairs, SYSTEMS, 3):
        rows = {system: samples[system].iloc[place] for system, place in places.items()}
        links = {system: {"audio": f"samples/{system}/0.flac", "midi": "0.mid"} for system in rows} | {LLAMA.name: {}}
        add_samples(prompt, rows, SYSTEMS, links, dict.fromkeys(rows, (0.25, 1.25)))
        prompts.append(prompt)
    table = pd.DataFrame({"system": [s.name for s in SYSTEMS]}).reindex(columns=["system", *METRICS, *PAPER_COLUMNS])
    values = page_values(table, SYSTEMS, clap=False, standins=True)
    values |= {"figures": [{"name": "losses", "svg": "<svg></svg>", "caption": "Losses"}], "extremes": []}
    template = request.config.rootpath / "workflow/templates/index.html"
    return render_template(template, run="test", prompts=prompts, **values)


def test_page_is_well_formed_labelled_and_needs_no_network(page):
    collector = Collector()
    collector.feed(page)
    assert not collector.open
    tags = collector.tags
    assert not [attrs for _, attrs in tags for key in ("src", "href") if attrs.get(key, "").startswith(("http", "//"))]
    assert "url(" not in page
    players = [attrs for tag, attrs in tags if tag == "audio"]
    assert len(players) == 6  # three prompts, two systems with audio
    assert all(attrs["aria-label"] and attrs["preload"] == "none" for attrs in players)
    assert "img" not in {tag for tag, _ in tags}
    assert len([1 for tag, attrs in tags if tag == "svg" and "aria-label" not in attrs]) == 1  # the figure's, whose
    # parent has one:
    assert {"role": "img", "aria-label": "Losses"} in [attrs for tag, attrs in tags if tag == "div"]
    ids = [attrs["id"] for _, attrs in tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    links = {attrs["href"][1:].partition("&")[0] for tag, attrs in tags if tag == "a" and attrs["href"].startswith("#")}
    assert links <= set(ids)


def test_text_of_others_is_escaped(page):
    assert "description &lt;a&gt;" in page
    assert "1B &lt;w/o&gt; AMT embed init" in page


def test_table_page_is_well_formed(request):
    table = pd.DataFrame({"system": [s.name for s in SYSTEMS]}).reindex(columns=["system", *METRICS, *PAPER_COLUMNS])
    values = page_values(table, SYSTEMS, clap=False, standins=False)
    collector = Collector()
    collector.feed(render_template(request.config.rootpath / "workflow/templates/table.html", run="test", **values))
    assert not collector.open
