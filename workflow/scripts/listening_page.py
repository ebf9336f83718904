"""Reads the table, all scores, figures, samples and audio, writes the listening page and the files it plays."""

from pathlib import Path

import pandas as pd

from libretto.config.systems import System
from libretto.job import start_job
from libretto.report.listening import add_music, choose_samples, read_music
from libretto.report.presentation import page_values
from libretto.report.templates import render_template

start_job(snakemake)
files, params, page = snakemake.input, snakemake.params, Path(snakemake.output.page)
systems = [System(**system) for system in params.systems]
music = read_music(systems, files.samples, files.midi, files.audio, files.audio_lists)
samples = {name: system.samples for name, system in music.items()}
first = samples[systems[0].name]["prompt_lmd_id"].head(params.prompts)
pairs = pd.read_parquet(files.pairs, filters=[("lmd_id", "in", first.tolist())])
scores = pd.read_parquet(files.scores)
prompts = []
for prompt, places in choose_samples(samples, pairs, systems, params.prompts):
    add_music(prompt, places, systems, music, Path(snakemake.output.media), scores)
    prompts.append(prompt)

figures = [
    {"file": Path(path).relative_to(page.parent).as_posix(), "caption": caption}
    for path, caption in zip(files.figures, params.captions, strict=True)
]
values = page_values(pd.read_csv(files.table), systems, params.clap, params.standins)
page.write_text(render_template(files.template, run=params.run, prompts=prompts, figures=figures, **values))
