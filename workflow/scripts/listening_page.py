"""Reads the table, all scores, figures, samples and audio, writes the listening pages and the files they play."""

from pathlib import Path

import pandas as pd

from libretto.config.systems import System
from libretto.job import start_job
from libretto.report.listening import add_music, by_sample, choose_samples, find_extremes, read_music
from libretto.report.presentation import STANDINS_NOTE, follows_instruments, page_values
from libretto.report.templates import render_template

start_job(snakemake)
files, params, page = snakemake.input, snakemake.params, Path(snakemake.output.page)
systems = [System(**system) for system in params.systems]
music = read_music(systems, files.samples, files.midi, files.audio, files.audio_lists)
samples = {name: system.samples for name, system in music.items()}
known = [("lmd_id", "in", set().union(*(rows["prompt_lmd_id"] for rows in samples.values())))]
pairs = pd.concat([pd.read_parquet(path, filters=known) for path in files.pairs])
scores = by_sample(pd.read_parquet(files.scores))
media = Path(snakemake.output.media)
prompts = []
for prompt, places in choose_samples(samples, pairs, systems, params.prompts):
    add_music(prompt, places, systems, music, media, scores)
    prompts.append(prompt)

extremes, banner = [], STANDINS_NOTE if params.standins else None
for system, path in zip(systems, map(Path, snakemake.output.extremes), strict=True):
    found = find_extremes(system, music[system.name], pairs, media, scores)
    path.write_text(render_template(files.extremes, run=params.run, system=system, found=found, banner=banner))
    if found:
        extremes.append(found)

svgs = {Path(path).stem: Path(path).read_text() for path in files.figures}
figures = [
    {"name": name, "svg": svg[svg.index("<svg") :], "caption": caption}
    for (name, svg), caption in zip(svgs.items(), params.captions, strict=True)
]
place = next(figure for figure in figures if figure["name"] == "correlations")
place["caption"] += " " + follows_instruments(pd.read_csv(files.correlations), params.clap)
elsewhere = pd.read_csv(files.elsewhere).to_dict("records")
values = page_values(pd.read_csv(files.table), systems, params.clap, params.standins, elsewhere)
values |= {"prompts": prompts, "extremes": extremes, "figures": figures}
page.write_text(render_template(files.template, run=params.run, **values))
