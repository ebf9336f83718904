"""Reads the table, the figures, all systems' samples and audio, writes the listening page and the files it plays."""

import shutil
from pathlib import Path

import pandas as pd

from libretto.audio.manifest import read_renderings
from libretto.config.systems import System
from libretto.log import start_log
from libretto.report.listening import add_samples, choose_samples
from libretto.report.presentation import page_values
from libretto.report.templates import render_template

start_log(snakemake.log[0])
params = snakemake.params
page, media = Path(snakemake.output.page), Path(snakemake.output.media)
systems = [System(**system) for system in params.systems]
folders = {
    system.name: {"audio": Path(audio), "midi": Path(midi)}
    for system, audio, midi in zip(systems, snakemake.input.audio, snakemake.input.midi, strict=True)
}
audio_starts = {
    system.name: {rendering.index: rendering.start_s for rendering in read_renderings(path)}
    for system, path in zip(systems, snakemake.input.audio_lists, strict=True)
}
samples = {system.name: pd.read_parquet(path) for system, path in zip(systems, snakemake.input.samples, strict=True)}


def copy(system: str, index: int) -> dict[str, str]:
    """Copy a sample's files beside the page, so that the report folder can be moved; links to those that exist."""
    links = {}
    for kind, suffix in (("audio", "flac"), ("midi", "mid")):
        source = folders[system][kind] / f"{index:04d}.{suffix}"
        if source.exists():
            target = media / system / source.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
            links[kind] = target.relative_to(page.parent).as_posix()
    return links


first = samples[systems[0].name]["prompt_lmd_id"].head(params.prompts)
pairs = pd.read_parquet(snakemake.input.pairs, filters=[("lmd_id", "in", first.tolist())])
prompts = []
for prompt, places in choose_samples(samples, pairs, systems, params.prompts):
    rows = {system: samples[system].iloc[place] for system, place in places.items()}
    links = {system: copy(system, int(row["index"])) for system, row in rows.items()}
    starts = {system: audio_starts[system].get(int(row["index"]), 0.0) for system, row in rows.items()}
    add_samples(prompt, rows, systems, links, starts)
    prompts.append(prompt)

figures = [
    {"file": Path(path).relative_to(page.parent).as_posix(), "caption": caption}
    for path, caption in zip(snakemake.input.figures, params.captions, strict=True)
]
values = page_values(pd.read_csv(snakemake.input.table), systems, params.clap, params.standins)
page.write_text(render_template(snakemake.input.template, run=params.run, prompts=prompts, figures=figures, **values))
