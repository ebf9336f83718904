"""The results table as people read it: in Markdown, and as values for the pages' templates."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pandas as pd
import tabulate

from libretto.config.embeddings import PAPER_EMBEDDING
from libretto.config.systems import System
from libretto.report.table import CHOSEN_BY, embedding_of
from libretto.scores.correlation import AGAINST, POOLED, TITLES

DASH = "—"
LIKE_BEST = " †"
ELSEWHERE = " ‡"
CHOSEN = " §"
LARGE = 100  # from here on a score is shown with one decimal: FAD's scale is that of its embedding
LATEX = {
    **{"&": "\\&", "%": "\\%", "_": "\\_", "—": "--", "±": "$\\pm$", "<": "$<$"},
    **{"†": "$^\\dagger$", "‡": "$^\\ddagger$", "§": "$^\\S$", "↓": "$\\downarrow$", "↑": "$\\uparrow$"},
}
NOT_MEASURED = "not measured"
STANDINS_NOTE = (
    "This run used stand-ins for some or all of its sources: a small composed corpus, tiny models. Its figures show "
    "that every step of the pipeline works; they say nothing about how good the paper's models are."
)
ELSEWHERE_NOTE = (
    "‡ Published by others, and not scored here: other samples for other descriptions, rendered and scored in other "
    "ways. These figures show the order of size; they are in no test, mark or figure."
)

tabulate.MIN_PADDING = 0  # by default, headings are two characters wider than they need to be


@dataclass(frozen=True)
class Score:
    """One score as the table shows it.

    Attributes:
        title: its heading.
        value: the column that holds it.
        error: the column of its standard error of the mean; None if it has none.
        better: which way is better, "lower" or "higher"; None if neither is.
        digits: after the decimal point.
        in_paper: whether the paper's Table 3 has it, in columns `report_...`.
        comparable: whether the paper's figure may stand beside this run's.
        p: the column of the p-value that its difference from zero has; None if it has none.
    """

    title: str
    value: str
    error: str | None
    better: str | None
    digits: int
    in_paper: bool
    comparable: bool = True
    p: str | None = None

    @property
    def heading(self) -> str:
        """The title with an arrow towards the better values, as in the paper."""
        return self.title + {"lower": " ↓", "higher": " ↑", None: ""}[self.better]


def scores(embedding: str, clap: bool = True, fmd: bool = False) -> tuple[Score, ...]:
    """The scores of Table 3, then those that this project adds; FAD's headings name the `embedding`.

    The distances in CLAP's space are left out without `clap`, or where FAD is in that space; FMD without `fmd`.
    """
    as_paper = embedding == PAPER_EMBEDDING
    in_clap = (
        Score("FAD (clap)", "fad_clap", None, "lower", 3, False),
        Score("KAD (clap)", "kad_clap", None, "lower", 3, False),
    )
    return (
        Score("Val loss", "val_loss", None, "lower", 3, True),
        Score(f"FAD ({embedding})", "fad", None, "lower", 3, True, as_paper),
        Score(f"FAD-sub ({embedding})", "fad_sub_mean", "fad_sub_sem", "lower", 3, True, as_paper),
        Score("CLAP", "clap_mean", "clap_sem", "higher", 3, True),
        Score(f"FAD ({embedding}) without one sample", "fad_without_one", None, None, 3, False),
        Score(f"FAD∞ ({embedding})", "fad_infinity", None, "lower", 3, False),
        Score(f"KAD ({embedding})", "kad", None, "lower", 3, False),
        *(in_clap if clap and embedding != "clap" else ()),
        *((Score("FMD", "fmd", None, "lower", 3, False),) if fmd else ()),
        Score("Val loss, music", "val_loss_music", None, "lower", 3, False),
        Score("… random text", "val_loss_music_random_text", None, None, 3, False),
        Score("Notes / sample", "notes_per_sample", "notes_per_sample_sem", None, 1, False),
        Score("Invalid events", "invalid_share", "invalid_share_sem", "lower", 3, False),
        Score("Crowded", "crowded_share", "crowded_share_sem", "lower", 3, False),
        Score("Short", "short_share", "short_share_sem", "lower", 3, False),
        Score("Copied", "copied_share", "copied_share_sem", None, 3, False),
        Score("Onsets / sample", "onsets_per_sample", "onsets_per_sample_sem", None, 1, False),
        Score("Instr. precision", "instrument_precision", "instrument_precision_sem", "higher", 3, False),
        Score("Instr. recall", "instrument_recall", "instrument_recall_sem", "higher", 3, False),
        Score("Instr. F1", "instrument_f1", "instrument_f1_sem", "higher", 3, False),
        _own_minus_others("Loss", "val_loss_music", "lower", 4),
        _own_minus_others("F1", "instrument_f1"),
        _own_minus_others("CLAP", "clap"),
        Score("Key", "key_match", "key_match_sem", "higher", 3, False),
        _own_minus_others("Key", "key_match"),
        Score("Tempo", "tempo_match", "tempo_match_sem", "higher", 3, False),
        _own_minus_others("Tempo", "tempo_match"),
        Score("Music, distance", "music_distance", None, "lower", 3, False),
        Score("Notes / s", "notes_per_s", "notes_per_s_sem", None, 1, False),
        Score("Polyphony", "polyphony", "polyphony_sem", None, 1, False),
        Score("Scale consistency", "scale_consistency", "scale_consistency_sem", None, 3, False),
    )


def _own_minus_others(title: str, name: str, better: str = "higher", digits: int = 3) -> Score:
    value = f"{name}_own_minus_others"
    return Score(f"{title}, own - others", value, None, better, digits, False, p=f"{value}_p")


def notes(table: pd.DataFrame, clap: bool, standins: bool) -> list[str]:
    """What a reader must know about the figures: sentences in Markdown without markup.

    Args:
        table: of `build_table`.
        clap: the config's `metrics.clap`.
        standins: whether the run's sources are the project's own stand-ins.
    """
    embedding = embedding_of(table)
    sentences = []
    if standins:
        sentences.append(STANDINS_NOTE)
    sentences.append(
        "Columns 'paper' are from the paper's Table 3. A dash means: not defined for this system, no audible sample, "
        "or (FAD-sub) fewer audible samples than one draw needs. ± is the standard error of the mean; n counts the "
        "samples with audio, missing those without."
    )
    if embedding != PAPER_EMBEDDING:
        sentences.append(
            f"FAD was computed in the embedding '{embedding}', the paper's in '{PAPER_EMBEDDING}'. The two cannot be "
            "compared, so the paper's are left out."
        )
    sentences.append(
        "FAD-sub is the mean FAD of random subsets of a system's samples. Its ± is over those subsets, as in the "
        "paper. They overlap, so this ± understates the spread over newly generated samples (by a factor of 2.6 in a "
        "simulation at the paper's sizes). Systems further apart than their ± may still be equally good."
    )
    sentences += _decided_by_one(table)
    if clap:
        sentences.append(
            "CLAP compares each description with windows of 10 s that cover the clip, and takes their mean. The paper "
            "scores one random window of each clip; this mean estimates the expected value of that score. FAD and KAD "
            "(clap) are the distances of these windows from those of the reference set."
        )
    else:
        sentences.append("CLAP was not measured: it is switched off in the config (metrics.clap).")
    if "fmd" in table:
        sentences.append(
            "FMD is the distance of the samples' MIDI files from those of the reference set, in the space of CLaMP 2: "
            "of the notes, where FAD is of the sound."
        )
    sentences += [
        "The validation losses of the two families cannot be compared: Llama's is over text and music. 'Val loss, "
        "music' is over the music alone in both; '… random text' is the same loss with another song's description: "
        "a larger gap means more use of the text.",
        "Crowded is the share of samples in which more than 64 notes begin at one time, short the share of those whose "
        "notes all begin within two seconds: the paper saw such samples from Llama at a temperature of 1.0.",
        "† marks the best of the sampled systems in a score, and those that cannot be told from it (paired bootstrap "
        "over the prompts, 5 %, Holm's correction for all pairs of systems; comparisons.csv has each pair). A score "
        "without † tells no system from the best.",
        "'Own - others' is a score with the description that the music was made for, less that with the other "
        "descriptions; p is from a permutation test. Only this difference says that music follows its text. Of the "
        "loss it is over validation songs: how much better a model predicts the music with its own description than "
        "with another's.",
        *_chosen(table),
        *_floors(table),
        "Copied is the share of notes in runs of 48 that a training song has too, note for note.",
        "Key is the share of samples in the description's key, or its relative; tempo the share of those whose onsets "
        "have a tempo in its bin, by an estimate that is right for about half of real songs.",
        "Music, distance is how far duration, density, polyphony, pitch-class entropy and scale consistency are from "
        "the ground truth's, in its standard deviations.",
        "Instrument (instr.) precision, recall and F1 compare what sounds with a description's instruments. A "
        "description names five at most, so music with more cannot reach a precision of 1.",
    ]
    return sentences


def _decided_by_one(table: pd.DataFrame) -> list[str]:
    """What FAD without one sample is, and in which rows that sample is most of FAD."""
    shown = (
        "FAD without one sample is the lowest FAD that leaving one out gives. It says how much one sample can decide."
    )
    numbers = table[["fad", "fad_without_one"]].astype(float)
    is_decided = (numbers["fad"] > 0) & (numbers["fad_without_one"] < numbers["fad"] / 2)
    if rows := table[is_decided].to_dict("records"):
        pairs = [(row["system"], *(_number(row, name, None, 3) for name in ("fad", "fad_without_one"))) for row in rows]
        named = ", ".join(f"{system} ({fad}, and {without} without it)" for system, fad, without in pairs)
        shown += f" In these rows, one sample is more than half of FAD: {named}. A long one has more embeddings."
    return [shown]


def _chosen(table: pd.DataFrame) -> list[str]:
    """Which rows are the best of several candidates, and what that means for their scores."""
    if "best_of" not in table or table["best_of"].max() == 1:
        return []
    rows = table[table["best_of"] > 1]
    names = ", ".join(f"of {n} in {name}" for name, n in zip(rows["system"], rows["best_of"], strict=True))
    return [
        f"§ marks scores by which the best of several samples for each description was kept ({names}): by its "
        "instruments, key and tempo, and that it is not crowded, short or mostly invalid. They say what choosing adds; "
        "they are not compared with the best."
    ]


def _floors(table: pd.DataFrame) -> list[str]:
    """What the scores are where nothing has been learned, or nothing differs."""
    sentences = []
    if not table["fad_floor"].isna().all():
        sentences.append(
            f"Clips of FAD's reference set are {table['fad_floor'].mean():.3f} from its other clips: the floor of FAD."
        )
    if "fmd" in table:
        sentences.append(
            f"Files of FMD's reference set are {table['fmd_floor'].mean():.3f} from its other files: the floor of FMD."
        )
    if not table["instrument_f1_floor"].isna().all():
        sentences.append(
            f"A band that always plays the five most common instruments has an F1 of "
            f"{table['instrument_f1_floor'].iloc[0]:.3f}: the floor of instrument F1."
        )
    return sentences


def follows_instruments(rows: pd.DataFrame, clap: bool) -> str:
    """What the samples say of the paper's guess that FAD and CLAP follow the instruments (section 6.1): a sentence.

    Args:
        rows: of `libretto.scores.correlation.correlations`.
        clap: the config's `metrics.clap`.
    """
    pooled = rows[rows["system"] == POOLED]
    parts = [
        f"{TITLES[str(score)]} {' and '.join(_tie(row) for row in own.to_dict('records'))}"
        for score, own in pooled.groupby("score", sort=False)
    ]
    found = "; ".join(parts) or "neither was measured"
    unmeasured = "" if clap or not parts else " CLAP was not measured."
    return f"Over the samples of all sampled systems, {found}.{unmeasured}"


def _tie(row: Mapping) -> str:
    what = AGAINST[row["against"]]
    if pd.isna(row["rho"]):
        return f"cannot be compared with {what}, as too few of {row['n']} samples differ"
    words = "shows no tie to" if row["low"] <= 0 <= row["high"] else ("rises with" if row["rho"] > 0 else "falls with")
    return f"{words} {what} (ρ {row['rho']:.2f}, 95 % {row['low']:.2f} to {row['high']:.2f}, n {row['n']})"


def cells(row: Mapping, score: Score, clap: bool) -> tuple[str, str]:
    """One score of one row as text: this run's and the paper's, each `mean ± SEM` where it has an error."""
    paper = _published(row, score)
    if score.value.startswith("clap") and not clap:
        return NOT_MEASURED, paper
    ours = _number(row, score.value, score.error, score.digits)
    if score.p and not pd.isna(row[score.p]):
        ours += f" (p {_p_value(row[score.p])})"
    if row.get("best_of", 1) > 1 and score.value in CHOSEN_BY and ours != DASH:
        ours += CHOSEN
    return ours + (LIKE_BEST if row.get(f"{score.value}_like_best") else ""), paper


def _published(row: Mapping, score: Score) -> str:
    if not (score.in_paper and score.comparable):
        return DASH
    return _number(row, f"report_{score.value}", score.error and f"report_{score.error}", score.digits)


def published_elsewhere(elsewhere: Iterable[Mapping], columns: Iterable[Score]) -> list[dict]:
    """Rows of models whose authors published scores: where the paper's may stand, and in its columns.

    Args:
        elsewhere: the rows of workflow/reference/elsewhere.csv: `label`, `source` and the paper's columns.
        columns: the scores of the table.

    Returns:
        Rows as in `grouped`, each figure marked; without those of which no figure may stand here.
    """
    rows = []
    for row in elsewhere:
        texts = [_published(row, score) for score in columns]
        figures = [(DASH, text if text == DASH else text + ELSEWHERE) for text in texts]
        if {*texts} != {DASH}:
            label = f"{row['label']} ({row['source']}){ELSEWHERE}"
            rows.append({"label": label, "temperature": DASH, "n": DASH, "missing": DASH, "scores": figures})
    return rows


def _p_value(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _number(row: Mapping, value: str, error: str | None, digits: int) -> str:
    if pd.isna(row[value]):
        return DASH
    digits = digits if abs(row[value]) < LARGE else min(digits, 1)
    text = f"{row[value]:.{digits}f}"
    if error is not None and not pd.isna(row[error]):
        text += f" ± {row[error]:.{digits}f}"
    return text


def row_name(system: System) -> str:
    """A row's name under its group's: its label, and the temperature if it has one."""
    return system.label if system.temperature is None else f"{system.label}, T {float(system.temperature)}"


def grouped(
    table: pd.DataFrame, systems: Iterable[System], columns: Iterable[Score], clap: bool
) -> list[tuple[str, list[dict]]]:
    """The rows under Table 3's headings, as text.

    Returns:
        Pairs of heading and rows; a row has `label`, `temperature`, `n`, `missing` and `scores`, a list with
        a pair (this run's, the paper's) for each of `columns`.
    """
    rows = table.set_index("system").to_dict("index")
    groups: dict[str, list[dict]] = {}
    for system in systems:
        row = rows[system.name]
        groups.setdefault(system.group, []).append(
            {
                "system": system.name,
                "label": system.label,
                "temperature": DASH if system.temperature is None else str(float(system.temperature)),
                "n": _number(row, "n", None, 0),
                "missing": _number(row, "n_missing", None, 0),
                "scores": [cells(row, score, clap) for score in columns],
            }
        )
    return list(groups.items())


def page_values(
    table: pd.DataFrame, systems: Iterable[System], clap: bool, standins: bool, elsewhere: Iterable[Mapping] = ()
) -> dict:
    """What the templates need to show the table: the paper's scores, the further ones, the notes.

    `elsewhere` is as in `published_elsewhere`, whose rows are only shown.
    """
    systems = list(systems)
    columns = scores(embedding_of(table), clap, "fmd" in table)
    main = [score for score in columns if score.in_paper]
    further = [score for score in columns if not score.in_paper]
    foreign = published_elsewhere(elsewhere, main)
    return {
        "systems": systems,
        "main_columns": main,
        "main": grouped(table, systems, main, clap),
        "elsewhere": foreign,
        "further_columns": further,
        "further": grouped(table, systems, further, clap),
        "notes": notes(table, clap, standins) + ([ELSEWHERE_NOTE] if foreign else []),
        "standins": standins,
    }


def to_markdown(
    table: pd.DataFrame, systems: Iterable[System], clap: bool, standins: bool, elsewhere: Iterable[Mapping] = ()
) -> str:
    """The table as Markdown that also reads well in a terminal: the paper's scores, the further ones, the notes."""
    values = page_values(table, systems, clap, standins, elsewhere)
    heading = ["Model", "Temp."]
    for score in values["main_columns"]:
        heading += [score.heading, "paper"]
    heading += ["n", "missing"]
    main = []
    for group, rows in _with_elsewhere(values):
        main.append([f"**{group}**"] + [""] * (len(heading) - 1))
        for row in rows:
            pairs = [text for pair in row["scores"] for text in pair]
            main.append([row["label"], row["temperature"], *pairs, row["n"], row["missing"]])

    further_heading = ["Model", "Temp.", *(score.heading for score in values["further_columns"])]
    further = []
    for group, rows in values["further"]:
        further.append([f"**{group}**"] + [""] * (len(further_heading) - 1))
        further += [[row["label"], row["temperature"], *(ours for ours, _ in row["scores"])] for row in rows]

    parts = [
        markdown_table(heading, main),
        markdown_table(further_heading, further),
        "\n".join(f"- {sentence}" for sentence in values["notes"]),
    ]
    return "\n\n".join(parts) + "\n"


def _with_elsewhere(values: Mapping) -> list[tuple[str, list[dict]]]:
    return [*values["main"], *([("Published elsewhere", values["elsewhere"])] if values["elsewhere"] else [])]


def to_latex(
    table: pd.DataFrame, systems: Iterable[System], clap: bool, standins: bool, elsewhere: Iterable[Mapping] = ()
) -> str:
    """The paper's scores as a LaTeX table with booktabs, and comments that say what the table is of."""
    values = page_values(table, systems, clap, standins, elsewhere)
    headings = ["", "Temp.", *(text for score in values["main_columns"] for text in (score.heading, "paper"))]
    lines = []
    for group, rows in _with_elsewhere(values):
        lines.append([f"\\textit{{{group}}}"] + [""] * (len(headings) - 1))
        lines += [[row["label"], row["temperature"], *(t for pair in row["scores"] for t in pair)] for row in rows]
    frame = pd.DataFrame([list(map(_latex, line)) for line in lines], columns=list(map(_latex, headings)))
    text = frame.to_latex(index=False, escape=False, column_format="ll" + "r" * (len(headings) - 2))
    comments = [values["notes"][0], *(note for note in values["notes"][1:] if note[0] in "†‡§")]
    return "".join(f"% {_latex(note)}\n" for note in comments) + text


def _latex(text: str) -> str:
    for character, command in LATEX.items():
        text = text.replace(character, command)
    return text


def scores_by_temperature(table: pd.DataFrame, systems: Iterable[System], clap: bool) -> str:
    """This run's scores of a few systems in Markdown: a row per score, a column per system's temperature."""
    rows = table.set_index("system")
    columns = {f"T {system.temperature}": rows.loc[system.name] for system in systems}
    lines = [
        [score.heading, *(cells(row, score, clap)[0] for row in columns.values())]
        for score in scores(embedding_of(table), clap, "fmd" in table)
    ]
    return markdown_table(["Score", *columns], lines)


def markdown_table(heading: list[str], rows: list[list[str]]) -> str:
    """A Markdown table, padded to read well as text: the first column is flush left, the others are flush right."""
    return tabulate.tabulate(rows, heading, "pipe", disable_numparse=True, colglobalalign="right", colalign=["left"])
