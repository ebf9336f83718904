"""The share of copied notes: against a search by hand, over runs as tuples, and on pieces made of known copies."""

import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from libretto.scores.copied import RUN, copied_shares
from libretto.tokens.vocab import AUTOREGRESS, DURATION_OFFSET, NOTE_OFFSET


def tokens_of(events):
    return [token for onset, note in events for token in (onset, DURATION_OFFSET + 10, NOTE_OFFSET + note)]


def random_events(draws, n, notes=3, gaps=(0, 10)):
    """Few notes and few times, so that runs come back by chance."""
    onset, events = 0, []
    for _ in range(n):
        onset += draws.choice(gaps)
        events.append((onset, 60 + draws.randrange(notes)))
    return events


def runs_of(events):
    events = sorted(events)
    for start in range(len(events) - RUN + 1):
        run = events[start : start + RUN]
        yield start, tuple((onset - run[0][0], note) for onset, note in run)


def by_hand(events, known):
    covered = {place for start, run in runs_of(events) if run in known for place in range(start, start + RUN)}
    return len(covered) / len(events)


@pytest.fixture
def training(tmp_path):
    """A function that writes songs, each a list of chunks of events, as the training split."""

    def write(songs):
        chunks = [[[AUTOREGRESS, *tokens_of(chunk)] for chunk in song] for song in songs]
        path = tmp_path / "train.parquet"
        pq.write_table(pa.table({"chunks": pa.array(chunks, pa.list_(pa.list_(pa.uint16())))}), path, row_group_size=3)
        return [str(path)]

    return write


def samples_of(*pieces):
    return [{"index": index, "tokens": tokens_of(piece)} for index, piece in enumerate(pieces)]


def test_equals_a_search_by_hand(training):
    draws = random.Random(0)
    songs = [
        [random_events(draws, draws.randrange(40, 120), 1, (5,) * 12 + (10,)) for _ in range(3)] for _ in range(150)
    ]
    pieces = [random_events(draws, 80, 1, (5,) * 12 + (10,)) for _ in range(30)]
    pieces += [random_events(draws, 20) + [(onset + 1000, note) for onset, note in songs[0][0]] for _ in range(3)]
    shares = copied_shares(samples_of(*pieces), training(songs))
    known = {run for song in songs for chunk in song for _, run in runs_of(chunk)}
    expected = [by_hand(piece, known) for piece in pieces]
    assert [*shares.values()] == pytest.approx(expected)
    assert 0 < sum(shares.values()) < len(pieces)


def test_known_copies(training):
    draws = random.Random(1)
    song, own = (random_events(draws, 100, 40, (5, 10, 20, 30)) for _ in "ab")
    later = [(onset + 700, note) for onset, note in song]
    half = [*own[:50], *((own[49][0] + 5 + onset, note) for onset, note in song[:50])]
    swapped = [*song[:50], (song[50][0], song[50][1] + 1), *song[51:]]
    slower = [(2 * onset, note) for onset, note in song]
    other_program = [(onset, note + 128) for onset, note in song]
    few = song[: RUN - 1]
    path = training([[own[:47], own[47:94]], [song]])  # no run of `own` crosses from a chunk to the next
    shares = copied_shares(samples_of(song, later, half, swapped, slower, other_program, few, own), path)
    assert shares == {0: 1, 1: 1, 2: 0.5, 3: 0.99, 4: 0, 5: 0, 7: 0}


def test_invalid_events_and_empty_samples(training):
    song = random_events(random.Random(2), 60, 40)
    broken = tokens_of(song)
    broken[45:45] = [NOTE_OFFSET, NOTE_OFFSET, NOTE_OFFSET]
    rows = [{"index": 4, "tokens": broken}, {"index": 5, "tokens": []}]
    assert copied_shares(rows, training([[song]])) == {4: 1.0}
    assert copied_shares([], training([[song]])) == {}
