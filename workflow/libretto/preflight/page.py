"""The preflight's page: what each rule will take, by what was measured, and what would stop the run."""

import math
from collections.abc import Iterable, Mapping

import tabulate

from libretto.config.embeddings import measured_embeddings
from libretto.config.systems import System, sampling_settings

SECONDS_PER_HOUR = 3600
CHECKPOINTS = 3  # of a training on disk at once: two are kept while the third is written


def project(config: dict, figures: Mapping[str, Mapping], systems: Iterable[System]) -> list[dict]:
    """Hours of every rule that a GPU works for, from what was measured.

    Args:
        config: the experiment.
        figures: what was measured, by `train/<variant>`, `generate/<system>` and `embed/<embedding>`.
        systems: the rows of the table that are sampled.

    Returns:
        A row per rule and variant, system or embedding: `rule`, `item`, `hours` of all its jobs, `memory_gb`, and
        `speed` in words; hours are None where nothing was measured.
    """
    rows = []
    n_valid = config["data"]["cuts"]["valid"]
    for name, variant in config["variants"].items():
        measured, training = figures[f"train/{name}"], variant["training"]
        row = {"rule": "train", "item": name, "hours": None, "memory_gb": measured.get("memory_gb")}
        validation = dict(row, rule="validate")
        if "sequences_per_s" in measured:
            steps = training["max_steps"] * training["batch_size"] / measured["sequences_per_s"]
            losses = (training["max_steps"] // training["eval_steps"] + 1) * n_valid / measured["songs_per_s"]
            apart = (steps + losses) * training["eval_steps"] / training["max_steps"]  # seconds between validations
            every = max(1, math.ceil(60 * config["checkpoint_minutes"] / apart))
            checkpoints = training["max_steps"] // training["eval_steps"] // every
            seconds = steps + losses + checkpoints * measured["checkpoint_s"]
            row |= {"hours": seconds / SECONDS_PER_HOUR, "speed": _training_speed(measured)}
            validation |= {
                "hours": 2 * n_valid / measured["songs_per_s"] / SECONDS_PER_HOUR,
                "speed": f"{measured['songs_per_s']:.1f} songs/s",
            }
        rows += [row, validation]
    first: dict[tuple[str | None, int], str] = {}
    sampling = config["sampling"]
    for system in systems:
        model = system.variant, sampling_settings(config, system)["max_new_tokens"]
        measured = figures[f"generate/{first.setdefault(model, system.name)}"]
        row = {
            "rule": "generate",
            "item": system.name,
            "jobs": 1,
            "hours": None,
            "memory_gb": measured.get("memory_gb"),
        }
        if "problem" not in measured:
            batches = math.ceil(sampling["n"] * system.best_of / measured["batch_size"])
            rows_each = 2 if system.sampling.get("guidance", 1) != 1 else 1  # with a description and without
            row |= {
                "hours": rows_each * batches * measured["seconds"] / SECONDS_PER_HOUR,
                "speed": f"{measured['seconds']:.1f} s for {measured['batch_size']} samples",
            }
        rows.append(row)
    n_clips = {"fad": sampling["n"] * len([*systems]) + config["data"]["background"]}
    n_clips["clap"] = n_clips["fad"] + 2 * sampling["n"]  # the ground truth's two rows
    n_clips["clamp2"] = n_clips["fad"]
    for kind in measured_embeddings(config):
        measured = figures[f"embed/{kind}"]
        row = {"rule": f"embed_{kind}", "item": "all systems", "hours": None}
        row["memory_gb"] = measured.get("memory_gb")
        if "problem" not in measured:
            row |= {
                "hours": n_clips[kind] * measured["seconds"] / SECONDS_PER_HOUR,  # of clips of a minute
                "speed": f"{measured['seconds']:.2f} s for a {'sample' if kind == 'clamp2' else 'minute of audio'}",
            }
        rows.append(row)
    return rows


def _training_speed(measured: Mapping) -> str:
    speed = f"{measured['tokens_per_s']:,.0f} tokens/s"
    if measured["peak"]:
        speed += f", {measured['operations'] * measured['sequences_per_s'] / measured['peak']:.0%} of the card's peak"
    return speed


def find_problems(
    sources: Iterable[str], figures: Mapping[str, Mapping], unreachable: Iterable[str], free: int | None
) -> list[str]:
    """What would stop the run, a line each with what to do.

    Args:
        sources: what is wrong with the sources, of `source_problems`.
        figures: as in `project`.
        unreachable: hosts of downloads that do not answer.
        free: bytes on the disk of the results; None if sizes were not measured.
    """
    problems = [*sources]
    problems += [f"{name}: {measured['problem']}" for name, measured in figures.items() if "problem" in measured]
    problems += [
        f"{host} does not answer: run Snakemake where there is a network, or give a path: for what comes from it"
        for host in unreachable
    ]
    needed = needed_bytes(figures)
    if free is not None and free < needed:
        problems.append(
            f"the disk of the results has {free / 1e9:,.0f} GB free; models and checkpoints need "
            f"{needed / 1e9:,.0f} GB: make room, or make results a link to a larger disk"
        )
    return problems


def needed_bytes(figures: Mapping[str, Mapping]) -> int:
    """Disk for the trained models, the folded ones, and the checkpoints of all trainings at once."""
    trained = [measured for measured in figures.values() if "checkpoint_bytes" in measured]
    return sum(2 * measured["best_bytes"] + CHECKPOINTS * measured["checkpoint_bytes"] for measured in trained)


def to_markdown(run: str, device: Mapping, rows: list[dict], problems: list[str], needed: int, quick: bool) -> str:
    """The page."""
    memory = device["device_memory_gb"]
    lines = [f"# Preflight of the run '{run}'", ""]
    lines += [f"Measured on: {device['device']}" + (f", {memory:.0f} GB." if memory else "."), ""]
    if quick:
        lines += [
            "**Cut down by `preflight: {quick: true}`**: one layer, one step of one sequence of 64 tokens, one sample "
            "of three. It shows that every step works. Speed, memory, disk and hours are not measured.",
            "",
        ]
    lines += ["## What must be fixed", ""]
    lines += [f"- {problem}" for problem in problems] or ["Nothing was found."]
    lines += ["", "## What the run will take", ""]
    if quick:
        headings: tuple[str, ...] = ("rule", "of", "")
        table: list[tuple[str, ...]] = [
            (row["rule"], row["item"], "ran" if "speed" in row else "not measured") for row in rows
        ]
    else:
        headings = ("rule", "of", "speed", "peak memory (GB)", "GPU hours" if memory else "hours")
        total = sum(row["hours"] or 0 for row in rows)
        table = []
        for row in rows:
            used = (
                "" if row["memory_gb"] is None else f"{row['memory_gb']:.1f}" + (f" of {memory:.0f}" if memory else "")
            )
            hours = "" if row["hours"] is None else f"{row['hours']:.2f}"
            table.append((row["rule"], row["item"], row.get("speed", "not measured"), used, hours))
        table.append(("all", "", "", "", f"{total:.2f}"))
    lines += tabulate.tabulate(table, headings, "pipe", disable_numparse=True).splitlines()
    if not quick:
        lines += [
            "",
            f"Models and checkpoints need {needed / 1e9:,.0f} GB of disk. Hours are by arithmetic from the speeds "
            "above, which were measured with random weights: training with its validations and checkpoints, and a "
            "minute of audio for each clip that is embedded.",
        ]
    return "\n".join(lines) + "\n"
