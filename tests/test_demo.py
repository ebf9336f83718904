"""`snakemake --profile demo` in a fresh copy of the checkout, with a shorter experiment: every step, end to end."""

import html
import json
import pathlib
import re

import mido
import pandas as pd
import pytest
import yaml

from tests.checkout import dry_run, job_counts, snakemake
from tests.test_workflow import SYSTEMS

TRAINED = ["amt-weighted-t1.0", "llama-1b-t1.1"]
ROWS = [*SYSTEMS[:3], *TRAINED]
PROMPTS = ["A calm waltz for harp & strings.", "Drums."]

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("demo")]


@pytest.fixture(scope="module")
def table(demo):
    return pd.read_csv(demo / "results/demo/table.csv", index_col="system")


def test_table_has_its_rows_in_the_papers_order(table):
    assert list(table.index) == ROWS


def test_every_score_is_measured_or_left_out_for_a_reason(table):
    sampled, truth = table.loc[ROWS[2:]], table.loc[ROWS[:2]]
    assert (sampled[["fad", "fad_sub_mean", "fad_sub_sem"]] > 0).all(axis=None)
    assert truth[["fad", "fad_sub_mean", "fad_sub_sem", "val_loss"]].isna().all(axis=None)
    assert table[["clap_mean", "clap_sem"]].isna().all(axis=None)  # no weights, no score
    assert (table.loc[ROWS[3:], "val_loss"] > 0).all()
    assert (table["fad_embedding"].dropna() == "logmel").all()
    assert (table["n"] + table["n_missing"] == 16).all()


def test_the_papers_figures_stand_beside_ours(table):
    assert table.loc["llama-1b-t1.1", "report_fad"] == 0.555
    assert table.loc["amt-weighted-t1.0", "report_clap_mean"] == 0.153


def test_dropped_songs_and_captions_are_accounted_for(demo):
    dropped = pd.read_parquet(demo / "results/demo/data/dropped.parquet")
    reasons = set(dropped["reason"])
    assert any(reason.startswith("error:") for reason in reasons)
    assert {"short", "instruments"} <= reasons
    json.loads((demo / "results/demo/data/summary.json").read_text())


def test_what_can_be_heard_is_counted_and_the_rest_missing(demo, table):
    for system in ROWS[2:]:
        n_midi = len(list((demo / f"results/demo/samples/{system}/midi").glob("*.mid")))
        n_audio = len(list((demo / f"results/demo/audio/{system}").glob("*.flac")))
        assert 0 < table.loc[system, "n"] == n_audio <= n_midi


def test_no_voice_is_dropped_and_the_playheads_begin_with_the_audio(demo):
    page = (demo / "results/demo/report/index.html").read_text()
    starts = [float(start) for start in re.findall(r'data-start="([^"]+)"', page)]
    expected = []
    for number in range(8):
        for system in ROWS:
            rows = pd.read_parquet(demo / f"results/demo/samples/{system}/tokens.parquet")
            own = rows[rows["prompt_lmd_id"] == rows_of_truth(demo)[number]].iloc[0]
            heard = "ground-truth" if system == "ground-truth-random-text" else system
            audio = pd.read_csv(demo / f"results/demo/audio/{heard}.csv", index_col="index")
            assert (audio["n_dropped"] == 0).all()
            if own["index"] not in audio.index:
                continue  # no sound, no player
            triples = own["tokens"][: len(own["tokens"]) // 3 * 3].reshape(-1, 3)
            valid = (triples >= (0, 10_000, 11_000)) & (triples < (10_000, 11_000, 27_512))
            expected.append(audio.loc[own["index"], "start_s"] - triples[valid.all(axis=1), 0].min() / 100)
    assert len(expected) > 7 * len(ROWS)
    assert starts == pytest.approx(expected, abs=1e-3)


def rows_of_truth(demo):
    return pd.read_parquet(demo / "results/demo/samples/ground-truth/tokens.parquet")["prompt_lmd_id"].tolist()


def test_the_pages_links_lead_somewhere(demo):
    page = demo / "results/demo/report/index.html"
    links = re.findall(r'(?:src|href)="([^"#]+)"', page.read_text())
    local = [link for link in links if not link.startswith(("http", "data:"))]
    assert local
    assert not [link for link in local if not (page.parent / link).exists()]
    assert not re.search(r'src="https?:', page.read_text()), "the page must not need the network"


def test_prompts_of_ones_own_are_composed_with_the_instruments_wanted(demo):
    sampling = {"instruments": [0, "drums"], "constraint": "grammar"}  # of models that have hardly been trained
    (demo / "ours.yaml").write_text(yaml.safe_dump({"prompts": PROMPTS, "sampling": sampling}))
    run = snakemake(demo, "--profile", "demo", "--configfile", "demo/experiment.yaml", "ours.yaml", "--", "compose")
    assert run.returncode == 0, run.stdout[-3000:]
    assert all(rule.startswith("compose") for rule in job_counts(run.stdout).keys() - {"total"})
    folder = demo / "results/demo/compose"
    files = sorted((folder / "midi").rglob("*.mid"))
    assert {path.parent.name for path in files} == set(TRAINED)
    for path in files:
        messages = [message for track in mido.MidiFile(path).tracks for message in track]
        assert {message.program for message in messages if message.type == "program_change"} <= {0}
    page = (folder / "index.html").read_text()
    assert [page.count(html.escape(prompt)) for prompt in PROMPTS] == [1, 1]
    links = re.findall(r'(?:src|href)="([^"#]+)"', page)
    assert {pathlib.PurePath(link).parent.name for link in links} == set(TRAINED)
    assert all((folder / link).exists() for link in links)
    assert len(links) == 2 * len(files)


def test_a_second_call_has_nothing_to_do(demo):
    assert "Nothing to be done" in dry_run(demo, "--profile", "demo")
