"""Rows of the table whose music comes from elsewhere."""

import numpy as np
import pandas as pd
import pytest
import yaml

from libretto.config.jobs import outside_files, scored_files
from libretto.config.systems import systems
from libretto.errors import InputError
from libretto.generation.outside import match_files, read_piece
from libretto.generation.samples import write_samples
from libretto.tokens.midi_writer import events_to_midi
from libretto.tokens.reference import midi_to_tokens_mido, tokens_to_events
from libretto.tokens.vocab import DURATION_OFFSET, NOTE_OFFSET
from tests.checkout import copy_checkout, dry_run, job_counts
from tests.realmidi import manifest, midi_files

SONGS = [{"lmd_id": letter * 32, "caption": letter} for letter in "abc"]


def events(n, step=50, start=0):
    return [t for i in range(n) for t in (start + step * i, DURATION_OFFSET + 40, NOTE_OFFSET + 128 * 24 + 40 + i % 40)]


def write(folder, pieces):
    """MIDI files as a run writes them, and the table's tokens."""
    write_samples(SONGS, SONGS, [(piece, "length") for piece in pieces], folder / "tokens.parquet", folder / "midi")
    return [row.tolist() for row in pd.read_parquet(folder / "tokens.parquet")["tokens"]]


def test_a_runs_own_midi_files_are_read_as_its_tokens(tmp_path):
    tokens = write(tmp_path, [events(9), [], events(5)])
    files = match_files([*map(str, (tmp_path / "midi").iterdir())], [song["lmd_id"] for song in SONGS], "key")
    assert [read_piece(file, 1024) for file in files] == [(tokens[0], "end"), ([], "missing"), (tokens[2], "end")]


def test_files_are_found_by_id_or_number_and_the_others_are_listed(caplog):
    ids = [song["lmd_id"] for song in SONGS]
    files = match_files([f"x/{'b' * 32}.MID", "x/0000.mid", "x/0007.mid", "x/take 2.midi"], ids, "key")
    assert [file and file.name for file in files] == ["0000.mid", f"{'b' * 32}.MID", None]
    assert f"1 of 3 descriptions have no file: {'c' * 32}" in caplog.text
    assert "2 files belong to no description that is used" in caplog.text
    with pytest.raises(InputError, match=r"systems\.x\.midi: no file is named after a test song, such as aaaa"):
        match_files(["x/song.mid"], ids, "systems.x.midi")


def test_a_piece_begins_with_its_first_note_and_is_no_longer_than_a_sample(tmp_path):
    first, second = (tmp_path / name for name in ("first.mid", "second.mid"))
    for file, tokens in ((first, events(30, start=700)), (second, events(30, step=450))):
        events_to_midi(tokens_to_events(np.array(tokens)))[0].save(file)
    assert read_piece(first, 1024) == (events(30), "end")
    assert read_piece(first, 20) == (events(6), "length")
    assert read_piece(second, 1024) == (events(23, step=450), "time")  # onsets below 100 s
    (tmp_path / "broken.mid").write_bytes(first.read_bytes()[:60])
    assert read_piece(tmp_path / "broken.mid", 1024) == ([], "unreadable")


def test_real_files_are_what_the_reference_makes_of_them(tmp_path):
    files, found = midi_files(), manifest()
    for lmd_id in [name for name, row in found.items() if row["status"] == "ok"][:12]:
        (tmp_path / "song.mid").write_bytes(files[lmd_id])
        tokens, _ = read_piece(tmp_path / "song.mid", 999)
        expected = midi_to_tokens_mido(files[lmd_id])[: len(tokens)]
        expected[::3] -= expected[0]
        assert tokens == expected.tolist()


def test_a_row_gets_what_a_models_row_gets(config, tmp_path):
    (tmp_path / "0000.mid").write_bytes(b"")
    config["systems"] = {"text2midi": {"midi": str(tmp_path), "label": "Text2midi"}}
    *_, row = systems(config).values()
    assert (row.name, row.group, row.label, row.is_sampled) == ("text2midi", "Other systems", "Text2midi", True)
    files = scored_files(config, row, "run")
    assert set(files) == {"fad", "fad_reference", "clap", "clap_reference"}  # no validation loss
    assert outside_files(config, "text2midi") == [str(tmp_path / "0000.mid")]
    config["systems"]["text2midi"]["midi"] = str(tmp_path / "none")
    with pytest.raises(InputError, match="there is no folder"):
        outside_files(config, "text2midi")
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match=r"there is no \.mid file"):
        outside_files(config, "text2midi")


@pytest.mark.slow
@pytest.mark.xdist_group("plan")
def test_the_plan_has_its_jobs_and_no_training_for_it(shipped_plan, tmp_path):
    (tmp_path / "0000.mid").write_bytes(b"")
    settings = {"systems": {"text2midi": {"midi": str(tmp_path)}}}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(settings))
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    plan = job_counts(dry_run(copy_checkout(checkout), "--configfile", str(tmp_path / "own.yaml")))
    assert not shipped_plan - plan
    more = plan - shipped_plan
    assert dict(more) == {
        **{"outside_samples": 1, "render": 1, "embed_fad": 1, "embed_clap": 1, "copied": 1, "score": 1},
        "total": 6,
    }
