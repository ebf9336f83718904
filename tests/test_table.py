import math
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from libretto.config.systems import systems
from libretto.errors import InputError
from libretto.report.presentation import notes, page_values, to_latex, to_markdown
from libretto.report.table import METRICS, PAPER_COLUMNS, build_table, embedding_of, mark_like_best, write_csv
from libretto.report.templates import render_template
from libretto.scores.comparisons import COLUMNS

CONFIG = {
    "data": {"chunk_tokens": 1024},
    "unconditional": {"temperatures": [1.0]},
    "systems": {},
    "sampling": {"best_of": 1, "max_new_tokens": 1024},
    "variants": {
        "llama-1b": {"family": "llama", "base": "llama-1b", "init": "gaussian", "temperatures": [1.0]},
        "amt": {"family": "amt", "text_states": "last", "temperatures": [1, 1.3, 1.25]},
    },
}
SYSTEMS = systems(CONFIG)
TABLE_3 = "workflow/reference/table3.csv"


def metrics_of(system, embedding="vggish", **values):
    sampled = system.is_sampled
    return {
        "val_loss": 1.0 if system.variant else None,
        "fad": 0.25 if sampled else None,
        "fad_sub_mean": 0.3 if sampled else None,
        "fad_sub_sem": 0.025 if sampled else None,
        "clap_mean": 0.2,
        "clap_sem": 0.003,
        "fad_embedding": embedding,
        "n": 16,
        "n_missing": 1,
        "notes_per_sample": 80.0,
        "notes_per_sample_sem": 2.0,
        "invalid_share": 1 / 3,
        "instrument_f1": 0.5,
    } | values


@pytest.fixture
def paper(request):
    return pd.read_csv(request.config.rootpath / TABLE_3)


@pytest.fixture
def table(paper):
    return build_table({name: metrics_of(system) for name, system in SYSTEMS.items()}, paper)


def test_paper_is_table_3(paper):
    assert list(paper.columns) == ["system", *PAPER_COLUMNS]
    assert len(paper) == 11
    # The best FAD and the best CLAP of a generated system are those of the last row (paper, section 6.1).
    assert paper["report_fad"].min() == paper["report_fad"].iloc[-1] == 0.245
    assert paper["report_clap_mean"].iloc[2:].max() == paper["report_clap_mean"].iloc[-1] == 0.215
    # FAD-sub of the unconditional row: mean and SEM (ddof 1) of the five draws that the authors published.
    draws = pd.Series([0.786044, 0.856635, 0.778177, 0.830865, 0.912647])
    row = paper.set_index("system").loc["amt-unconditional-t1.0"]
    assert row["report_fad_sub_mean"] == pytest.approx(draws.mean(), abs=5e-4)
    assert row["report_fad_sub_sem"] == pytest.approx(draws.sem(), abs=5e-4)


def test_rows_and_columns(table):
    assert list(table["system"]) == list(SYSTEMS)
    assert list(table.columns) == ["system", *METRICS, *PAPER_COLUMNS]
    assert math.isnan(table.set_index("system").loc["ground-truth", "fad"])


def test_system_that_the_paper_does_not_have_is_empty_there(table):
    row = table.set_index("system").loc["amt-t1.3"]
    assert row["val_loss"] == 1.0
    assert row[list(PAPER_COLUMNS)].isna().all()


def test_further_numbers_of_the_files_are_kept_and_nested_values_are_not(paper):
    metrics = {"amt-t1.0": metrics_of(SYSTEMS["amt-t1.0"], fad_sub_draws=5, draws=[1, 2])}
    table = build_table(metrics, paper)
    assert table["fad_sub_draws"].tolist() == [5]
    assert "draws" not in table


def test_csv_has_the_same_bytes_and_six_digits(table, tmp_path):
    first, second = tmp_path / "first.csv", tmp_path / "second.csv"
    write_csv(table, first)
    write_csv(table.copy(), second)
    assert first.read_bytes() == second.read_bytes()
    assert "0.333333," in first.read_text()
    again = pd.read_csv(first)
    assert list(again["n"]) == [16] * len(SYSTEMS)
    numbers = [name for name in table.columns if name not in ("system", "fad_embedding")]
    np.testing.assert_allclose(again[numbers].to_numpy(float), table[numbers].to_numpy(float), rtol=1e-5)


def test_scores_in_two_embeddings_are_refused(paper):
    metrics = {name: metrics_of(system) for name, system in SYSTEMS.items()}
    metrics["amt-t1.0"]["fad_embedding"] = "logmel"
    with pytest.raises(InputError, match="logmel, vggish"):
        embedding_of(build_table(metrics, paper))


def test_groups_and_cells(table):
    values = page_values(table, SYSTEMS.values(), clap=True, standins=False)
    assert [group for group, _ in values["main"]] == ["Baselines", "AMT-Large + text cond", "Llama LLMs"]
    baselines, amt, _ = [rows for _, rows in values["main"]]
    assert baselines[0]["scores"] == [("—", "—"), ("—", "—"), ("—", "—"), ("0.200 ± 0.003", "0.238 ± 0.003")]
    assert amt[0]["scores"][2] == ("0.300 ± 0.025", "0.332 ± 0.035")
    assert [row["temperature"] for row in amt] == ["1.0", "1.3", "1.25"]  # as in the systems' names
    assert [score.heading for score in values["main_columns"]] == [
        "Val loss ↓",
        "FAD (vggish) ↓",
        "FAD-sub (vggish) ↓",
        "CLAP ↑",
    ]
    table.loc[table["system"] == "amt-t1.0", ["fad_sub_mean", "fad_sub_sem"]] = [317.0701, 45.0944]
    _, amt, _ = [rows for _, rows in page_values(table, SYSTEMS.values(), clap=True, standins=False)["main"]]
    assert amt[0]["scores"][2][0] == "317.1 ± 45.1"
    place = [score.value for score in values["further_columns"]].index("notes_per_sample")
    assert values["further"][1][1][0]["scores"][place][0] == "80.0 ± 2.0"
    off = page_values(table, SYSTEMS.values(), clap=False, standins=False)["further_columns"]
    left_out = [score.heading for score in values["further_columns"] if score not in off]
    assert left_out == ["FAD (clap) ↓", "KAD (clap) ↓"]


def test_fmd_has_a_column_its_floor_and_a_note_where_it_was_measured(table, paper):
    metrics = {name: metrics_of(system) for name, system in SYSTEMS.items()}
    metrics["amt-t1.0"] |= {"fmd": 131.25, "fmd_floor": 97.5}
    measured = build_table(metrics, paper)
    assert list(measured.columns) == ["system", *METRICS, "fmd", "fmd_floor", *PAPER_COLUMNS]
    with_fmd, without = (page_values(rows, SYSTEMS.values(), clap=True, standins=False) for rows in (measured, table))
    place = [score.heading for score in with_fmd["further_columns"]].index("FMD ↓")
    assert with_fmd["further_columns"][:place] + with_fmd["further_columns"][place + 1 :] == without["further_columns"]
    cells = {row["system"]: row["scores"][place][0] for _, rows in with_fmd["further"] for row in rows}
    assert cells["amt-t1.0"] == "131.2"
    assert {cells[name] for name in SYSTEMS if name != "amt-t1.0"} == {"—"}
    notes_of_fmd = [note for note in with_fmd["notes"] if note not in without["notes"]]
    assert [note.split(" ")[0] for note in notes_of_fmd] == ["FMD", "Files"]
    assert "are 97.500 from its other files: the floor of FMD" in notes_of_fmd[1]


def test_markdown_is_aligned_and_says_what_was_not_measured(paper):
    metrics = {
        name: metrics_of(system, "logmel", clap_mean=None, clap_sem=None, n=9, n_missing=0)
        for name, system in SYSTEMS.items()
    }
    text = to_markdown(build_table(metrics, paper), SYSTEMS.values(), clap=False, standins=True)
    main, further, remarks = text.split("\n\n")
    for block in (main, further):
        assert len({len(line) for line in block.splitlines()}) == 1
    assert all(set(cell.strip()) == {"-", ":"} for cell in main.splitlines()[1].strip("|").split("|"))
    assert main.count("not measured") == len(SYSTEMS)
    temperatures = [line.split("|")[2].strip() for line in main.splitlines()[2:]]
    assert temperatures == ["", "—", "—", "1.0", "", "1.0", "1.3", "1.25", "", "1.0"]
    assert "FAD (logmel) ↓" in main
    assert "0.299" not in main  # the paper's FAD of AMT, by VGGish
    assert "0.156 ± 0.003" in main  # its CLAP stays
    assert "cannot be compared" in remarks
    assert "stand-ins" in remarks
    assert "switched off" in remarks


def test_what_cannot_be_told_from_the_best_is_marked(table):
    """Of sampled systems; a score in which less is better has its best at the bottom."""
    table = table.assign(instrument_f1=[0.9, 0.1, 0.2, 0.6, 0.5, 0.1, 0.3][: len(table)], invalid_share=0.5)
    names = [name for name, system in SYSTEMS.items() if system.is_sampled]
    best, second, third = table[table["system"].isin(names)].nlargest(3, "instrument_f1")["system"]
    rows = [
        *(("instrument_f1", best, second, 16, 0.1, 0.2, 0.4), ("instrument_f1", third, best, 16, -0.3, 0.001, 0.01)),
        ("instrument_f1", second, third, 16, 0.2, 0.5, 0.9),
    ]
    marked = mark_like_best(table, pd.DataFrame(rows, columns=COLUMNS), SYSTEMS.values()).set_index("system")
    assert set(marked.index[marked["instrument_f1_like_best"]]) == {best, second}
    assert not marked.loc["ground-truth", "instrument_f1_like_best"]
    alike = [("instrument_f1", best, name, 16, 0.1, 0.2, 0.4) for name in names if name != best]
    all_alike = mark_like_best(table, pd.DataFrame(alike, columns=COLUMNS), SYSTEMS.values())
    assert not all_alike["instrument_f1_like_best"].any()
    text = to_markdown(marked.reset_index(), SYSTEMS.values(), clap=True, standins=False)
    assert len(re.findall(r"0\.\d+ †", text.partition("Instr. F1")[2])) >= 2


def test_a_row_is_not_the_best_in_what_it_was_chosen_by(table):
    names = [name for name, system in SYSTEMS.items() if system.is_sampled]
    chosen, second, third = names[:3]
    values = {chosen: 0.9, second: 0.8, third: 0.1}
    table = table.assign(instrument_f1=table["system"].map(values), invalid_share=1 - table["system"].map(values))
    rows = [
        ("instrument_f1", *pair, 16, 0.5, 0.001, 0.01) for pair in ((chosen, second), (chosen, third), (second, third))
    ]
    systems = [replace(system, best_of=4) if name == chosen else system for name, system in SYSTEMS.items()]
    marked = mark_like_best(table, pd.DataFrame(rows, columns=COLUMNS), systems)
    assert marked.set_index("system")["best_of"].to_dict() == dict.fromkeys(SYSTEMS, 1) | {chosen: 4}
    assert list(marked["system"][marked["instrument_f1_like_best"]]) == [second]
    assert list(marked["system"][marked["invalid_share_like_best"]]) == [second]
    text = to_markdown(marked, systems, clap=True, standins=False)
    assert text.count("0.900 § ") == 1
    assert "0.800 † " in text
    assert text.count("§") == 3  # two scores and the note
    assert (
        f"§ marks scores by which the best of several samples for each description was kept (of 4 in {chosen})" in text
    )


def test_own_minus_others_has_its_p(table):
    table = table.assign(instrument_f1_own_minus_others=0.1234, instrument_f1_own_minus_others_p=0.0004)
    assert "0.123 (p < 0.001)" in to_markdown(table, SYSTEMS.values(), clap=True, standins=False)
    table["instrument_f1_own_minus_others_p"] = 0.04
    assert "0.123 (p 0.040)" in to_markdown(table, SYSTEMS.values(), clap=True, standins=False)


def test_latex_has_the_papers_scores_and_no_character_of_its_own(table):
    text = to_latex(table, SYSTEMS.values(), clap=True, standins=False)
    assert "\\toprule" in text
    assert "$0.300" not in text
    assert "0.300 $\\pm$ 0.025" in text
    assert "FAD (vggish) $\\downarrow$" in text
    body = text.partition("\n")[2]
    assert body.isascii()
    assert len({line.count(" & ") for line in body.splitlines() if line.endswith("\\\\")}) == 1


def test_what_others_published_is_marked_and_ranked_nowhere(table, request):
    """MIDI-LLM's FAD of 0.173 would be the best."""
    elsewhere = pd.read_csv(request.config.rootpath / "workflow/reference/elsewhere.csv").to_dict("records")
    assert list(elsewhere[0]) == ["label", "source", *PAPER_COLUMNS]
    shown = table, SYSTEMS.values(), True, False, elsewhere
    (row,) = page_values(*shown)["elsewhere"]
    assert row["scores"] == [("—", "—"), ("—", "0.173 ‡"), ("—", "—"), ("—", "0.221 ‡")]
    line = next(line for line in to_markdown(*shown).splitlines() if "MIDI-LLM" in line)
    assert "†" not in line
    assert [text.strip() for text in line.split("|")][1] == "MIDI-LLM (Wu et al., 2025) ‡"
    assert "0.173 $^\\ddagger$" in to_latex(*shown)
    assert "‡ Published by others" in to_markdown(*shown)
    html = render_template(request.config.rootpath / "workflow/templates/table.html", run="x", **page_values(*shown))
    assert "MIDI-LLM" in html.partition("<tfoot>")[2].partition("</tfoot>")[0]  # sort.js sorts the bodies alone
    assert html.count("MIDI-LLM") == 1
    assert not set(table["system"]) - set(SYSTEMS)


def test_where_the_papers_fad_is_left_out_so_is_that_of_others(paper):
    metrics = {name: metrics_of(system, "logmel") for name, system in SYSTEMS.items()}
    both = {"label": "A", "source": "B", **dict.fromkeys(PAPER_COLUMNS), "report_fad": 0.1, "report_clap_mean": 0.2}
    fad = both | {"report_clap_mean": None}
    values = page_values(build_table(metrics, paper), SYSTEMS.values(), False, True, [both, fad])
    (row,) = values["elsewhere"]
    assert [published for _, published in row["scores"]] == ["—", "—", "—", "0.200 ‡"]


def test_the_notes_say_what_a_dash_may_mean(table):
    assert "(FAD-sub) fewer audible samples than one draw needs" in " ".join(notes(table, True, False))


def test_notes_of_a_full_run_warn_of_nothing(table):
    text = " ".join(notes(table, clap=True, standins=False))
    assert "stand-ins" not in text
    assert "embedding" not in text
    assert "not measured" not in text
    assert "one sample is more than half" not in text


def test_rows_whose_fad_one_sample_decides_are_named(table):
    table[["fad", "fad_without_one"]] = 0.4, 0.21
    table.loc[table["system"] == "amt-t1.0", "fad_without_one"] = 0.19
    text = " ".join(notes(table, clap=True, standins=False))
    assert "one sample is more than half of FAD: amt-t1.0 (0.400, and 0.190 without it)." in text
